#!/usr/bin/perl

# The fault matrix: Redis is killed, and an agent with it.  The last good registry
# serves; corrald starts Redis again, and then the agent.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;
use Test::Corral::Shim qw/descendants/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $f = Test::Corral::Fault->new();
my $d = $f->d();

$f->plan(17);
$f->begin();

###############################################################################

my ($victim, $other) = $f->instances();
my $redis = $d->_redis_pid();

is($f->affect(sub { $_[0]{instance_id} eq $victim->{instance_id} }), 12,
    'those on one instance are affected');

$f->strike(sub { kill 'KILL', $redis, $victim->{pid} });
delete $d->{redis_pid};
$f->told([ 1001, 1011 ], 2);

ok(wait_for(sub {
    2 == grep { $_->{state} eq 'serving' } $f->s()->workers() }, 20),
    'workers and corrald are back on Redis');
isnt($d->_redis_pid(), $redis, 'which is another process');

my %back = $f->recovered($victim);

is($back{ $other->{instance_id} }{pid}, $other->{pid}, 'one agent went on');
is($back{ $other->{instance_id} }{incarnation}, $other->{incarnation},
    'and was never restarted');
is(join(' ', map { $back{ $victim->{instance_id} }{$_} // '-' }
    qw/incarnation exit_signal/), $victim->{incarnation} + 1 . ' 9',
    'the other was started once, and what ended it is known');
is(scalar(descendants("$d->{dir}/r/agents/")), 2, 'there is no third');
$f->unharmed();
$f->lives('Redis is back');
is($f->serve(), 20, 'new clients');

$f->finish();
