#!/usr/bin/perl

# The fault matrix: Redis is frozen for 30 s, three times as long as any lease, and
# an agent dies meanwhile.  Nothing waits for it, nothing is dropped, and when it
# is back the agent is.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $FROZEN = 30;

my $f = Test::Corral::Fault->new();
my $d = $f->d();

$f->plan(18);
$f->begin();

###############################################################################

my ($victim, $other) = $f->instances();
my $redis = $d->_redis_pid();
my $expired = expired();

is($f->affect(sub { $_[0]{instance_id} eq $victim->{instance_id} }), 12,
    'those on one instance are affected');

$f->strike(sub { kill 'STOP', $redis; kill 'KILL', $victim->{pid} });
$f->told([ 1001, 1011 ], 2);

# served all the time

my ($served, $wanted, $slowest) = (0, 0, 0);

while (time() < $f->{struck} + $FROZEN) {
    $served += $f->serve(5);
    $wanted += 5;
    $slowest = $f->{slowest} if $f->{slowest} > $slowest;
    select undef, undef, undef, 0.5;
}

is($served, $wanted, "$wanted new clients in $FROZEN s");
cmp_ok($slowest, '<', 2, 'none waits for an answer of it');
$f->unharmed('while it is frozen');
$f->pump();

kill 'CONT', $redis;

ok(wait_for(sub {
    2 == grep { $_->{state} eq 'serving' } $f->s()->workers() }, 20),
    'workers and corrald are back on Redis');
cmp_ok(expired(), '>', $expired, 'leases had ended');
is($d->_redis_pid(), $redis, 'nobody started another Redis');

my %back = $f->recovered($victim);

is(join(' ', @{ $back{ $other->{instance_id} } }{qw/pid incarnation/}),
    join(' ', @$other{qw/pid incarnation/}), 'one agent went on');
is($back{ $victim->{instance_id} }{incarnation}, $victim->{incarnation} + 1,
    'the other was started once');
$f->unharmed('after it');
$f->lives('Redis is back');

$f->finish();

###############################################################################

# Keys whose time was over, since Redis was started.

sub expired {
    return $f->redis_cli('INFO', 'stats') =~ /expired_keys:(\d+)/ ? $1 : -1;
}
