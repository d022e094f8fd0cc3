#!/usr/bin/perl

# The fault matrix: Redis is emptied, and an agent dies.  The last good registry
# serves; corrald fills Redis from its journal, and starts the agent again.

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

$f->plan(16);
$f->begin();

###############################################################################

my ($victim, $other) = $f->instances();
my $epoch = $f->redis_cli('GET', 'corral:test:epoch');

is($f->affect(sub { $_[0]{instance_id} eq $victim->{instance_id} }), 12,
    'those on one instance are affected');

my $answer;

$f->strike(sub {
    $answer = $f->redis_cli('DEL', $f->redis_cli('--scan'));
    kill 'KILL', $victim->{pid};
});
cmp_ok($answer, '>', 10, 'all keys of Redis are gone');
$f->told([ 1001, 1011 ], 2);

ok(wait_for(sub {
    my $now = $f->redis_cli('GET', 'corral:test:epoch');
    $now && $now ne $epoch && 2 == grep { $_->{epoch} eq $now
        && $_->{state} eq 'serving' } $f->s()->workers();
}, 20), 'it is filled under another epoch, which the workers follow');

my %back = $f->recovered($victim);

is(join(' ', @{ $back{ $other->{instance_id} } }{qw/pid incarnation/}),
    join(' ', @$other{qw/pid incarnation/}), 'one agent went on');
is($back{ $victim->{instance_id} }{incarnation}, $victim->{incarnation} + 1,
    'the other was started once');
is(scalar(descendants("$d->{dir}/r/agents/")), 2, 'there is no third');
$f->unharmed();
$f->lives('Redis is filled');
is($f->serve(), 20, 'new clients');

$f->finish();
