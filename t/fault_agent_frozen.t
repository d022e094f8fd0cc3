#!/usr/bin/perl

# The fault matrix: an agent is frozen.  It takes connections and says nothing: its
# clients are told when it owes an answer to a ping for too long, handshakes go
# to the other instance, and it serves again when it is thawed.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $f = Test::Corral::Fault->new();
my $d = $f->d();

$f->plan(20);
$f->begin(ping_interval => '1s', ping_timeout => '1s',
    handshake_timeout => '1s', fail_timeout => '1s',
    readiness_probe => { type => 'websocket', interval => '500ms',
        timeout => '1s', failure_threshold => 2 });

###############################################################################

my ($victim) = $f->instances();
my $id = $victim->{instance_id};

is($f->affect(sub { $_[0]{instance_id} eq $id }), 12,
    'those on one instance are affected');

$f->strike(sub { kill 'STOP', $victim->{pid} });
cmp_ok($f->{slowest}, '<', 4, 'which do not wait for long');
$f->told([ 1011 ], 5);

ok($d->wait_instances('echo', sub {
    grep { $_->{instance_id} eq $id && $_->{health} eq 'unhealthy' } @_
}, 15), 'its probe fails');
ok(wait_for(sub { $f->t()->instance($id)->{health} eq 'unhealthy' }),
    'as the gateway knows');
my $failures = $f->t()->instance($id)->{failures};
is($f->serve(), 20, 'new clients');
is($f->t()->instance($id)->{failures}, $failures,
    'none of which is sent to it');
$f->unharmed();
$f->lives('while it is frozen');

# thawed: the same process, with new clients and without those it had

kill 'CONT', $victim->{pid};

my @well = $d->wait_instances('echo', sub {
    2 == grep { $_->{health} eq 'healthy' } @_ }, 15);
is_deeply([ sort map { $_->{pid} } @well ],
    [ sort map { $_->{pid} } $f->instances() ], 'the same processes');
$f->lives('it is thawed');

ok(wait_for(sub {
    $f->connect(1);
    return $f->s()->counted('echo')->{$id};
}, 10), 'it gets new clients');
$f->lives('it has some');
$f->unharmed('with the new ones');

$f->finish();
