#!/usr/bin/perl

# Instances that registered themselves: without a heartbeat within the ttl
# nothing is known of them, without one for ten times the ttl they are removed;
# maintenance takes them out of routing.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();

plan(tests => 17);

$d->start();

###############################################################################

$d->service(name => 'remote', replicas => 0, command => []);

my $r = $d->api('POST', '/services/remote/instances', {
    instance_id => 'remote.a', address => '127.0.0.1:9', ttl => '1s' });
is($d->{http}, 201, 'registered');
my ($i) = $d->wait_instances('remote', sub { $_[0]{state} eq 'running' });
is($i->{health}, 'healthy', 'running, healthy');

my $beat = sub { $d->api('PUT', '/instances/remote.a/heartbeat',
    { status => 'pass', active_tasks => 3 }) };

# alive as long as it says so

my $end = time() + 2.5;
my $wrong = 0;

while (time() < $end) {
    $beat->();
    $wrong++ if ($d->instances('remote'))[0]{health} ne 'healthy';
    select undef, undef, undef, 0.2;
}

is($wrong, 0, 'healthy for as long as it says so');

# silent

my $t0 = time();
($i) = $d->wait_instances('remote', sub { $_[0]{health} eq 'unknown' });
is($i->{reason}, 'ttl_expired', 'silent: nothing is known');
is($i->{state}, 'running', 'its state is not touched');
cmp_ok(time() - $t0, '<', 4, 'soon after its ttl');

# back

$beat->();
($i) = $d->wait_instances('remote', sub { $_[0]{health} eq 'healthy' });
ok($i, 'a heartbeat heals');

# its own word

$d->api('PUT', '/instances/remote.a/heartbeat', { status => 'warn' });
($i) = $d->wait_instances('remote', sub { $_[0]{health} eq 'degraded' });
ok($i, 'degraded, by its own word');
$beat->();

# maintenance

$d->api('PATCH', '/instances/remote.a', { maintenance => \1 });
$beat->();
($i) = $d->wait_instances('remote', sub { $_[0]{state} eq 'paused' });
is($i->{reason}, 'maintenance', 'in maintenance it is paused');
$beat->();
$d->api('PATCH', '/instances/remote.a', { maintenance => \0 });
($i) = $d->wait_instances('remote', sub { $beat->();
    $_[0]{state} eq 'running' });
ok($i, 'and comes back');

# a corrald that was away does not take silence for death at once

$d->kill('KILL')->start();
$beat->();
select undef, undef, undef, 0.4;
is(($d->instances('remote'))[0]{health}, 'healthy',
    'a restart of corrald harms nobody');

# silent for ten times the ttl

$t0 = time();
ok(wait_for(sub { !$d->instances('remote') }, 15), 'removed in the end');
cmp_ok(time() - $t0, '>', 7, 'not before ten times its ttl');
cmp_ok(time() - $t0, '<', 14, 'but then');

$d->finish();

###############################################################################
