#!/usr/bin/perl

# Probes: no traffic before readiness, unhealthy heals by itself, liveness
# restarts, and one agent that hangs delays no other.  (Where unhealthy is
# checked by asking whether it is unhealthy, only a restart heals it; where
# agents are asked one after another, one hanging agent blinds the rest.)

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();

plan(tests => 30);

$d->start();

my $ready = { type => 'http', path => '/health', interval => '200ms',
    timeout => '1s', failure_threshold => 3 };

###############################################################################

# readiness gates, and a hanging agent, which takes each connection and never
# answers, is nobody else's affair

my $t0 = time();
$d->service(name => 'mute', command => $d->agent('hang=1'),
    readiness_probe => { %$ready, timeout => '20s' });
$d->wait_instances('mute', sub { $_[0] && $_[0]{pid} });
$d->service(name => "echo$_", command => $d->agent(),
    readiness_probe => $ready) for 1 .. 5;
my @up = map { $d->wait_running("echo$_", 1) } 1 .. 5;
is(scalar(@up), 5, 'five are ready beside one that hangs');
cmp_ok(time() - $t0, '<', 5, 'without waiting for it');
my ($mute) = $d->instances('mute');
is($mute->{state}, 'starting', 'that is not ready: starting');
is($mute->{ready_at}, undef, 'never was');

my $slow = $d->service(name => 'slow', command => $d->agent('slow=1'));
my ($s) = $d->wait_instances('slow', sub { $_[0] && $_[0]{pid} });
is($s->{state}, 'starting', 'a slow agent is starting');
($s) = $d->wait_running('slow', 1);
ok($s, 'until it is ready');

# unhealthy heals by itself, the process is not touched

my ($e) = $d->instances('echo1');
$d->ask($e, '/sick');
my ($x) = $d->wait_instances('echo1', sub { $_[0]{health} eq 'degraded' });
ok($x, 'degraded first');
($x) = $d->wait_instances('echo1', sub { $_[0]{health} eq 'unhealthy' });
is($x->{state}, 'running', 'unhealthy, still running');
is($x->{reason}, 'probe_failed', 'the reason');
like($x->{message}, qr/readiness probe \(http\): status 503/, 'what was seen');
$d->ask($e, '/well');
($x) = $d->wait_instances('echo1', sub { $_[0]{health} eq 'healthy' });
is($x->{pid}, $e->{pid}, 'healthy again, by itself');
is($x->{restart_count}, 0, 'never restarted');

# liveness

$d->service(name => 'live', command => $d->agent(),
    readiness_probe => { type => 'tcp' }, liveness_probe => $ready);
my ($l) = $d->wait_running('live', 1);
$d->ask($l, '/sick');
($x) = $d->wait_instances('live', sub { $_[0]{reason} eq 'liveness_failed' });
is($x->{state}, 'failed', 'liveness lost: failed');
my ($m) = $d->wait_instances('live', sub { $_[0]{state} eq 'running'
    && $_[0]{incarnation} == 2 });
ok($m, 'and started again');
ok(!alive($l->{pid}), 'the old process is gone');

# startup has its own time

$d->service(name => 'late', command => $d->agent('mute=1'),
    restart_delay => '10s',
    startup_probe => { type => 'tcp', interval => '100ms',
        failure_threshold => 5 });
($x) = $d->wait_instances('late', sub { $_[0]{state} eq 'failed' });
is($x->{reason}, 'startup_timeout', 'not ready in time');
like($x->{message}, qr/did not become ready: startup probe \(tcp\)/,
    'it says why');
ok(wait_for(sub { !descendants("$d->{dir}/agent.pl\0mute=1\0late") }), 'ended');

# commands, with the environment and the user of the agent

$d->service(name => 'exec', command => $d->agent(), env => { WORD => 'please' },
    readiness_probe => { type => 'exec', interval => '200ms',
        timeout => '2s',
        command => ['sh', '-c', 'test "$WORD" = please || exit 3
            test -e "$CORRAL_SOCKET" || { echo no socket; exit 4; }
            test "$(id -u)" = ' . ($> == 0 ? 65534 : $>)] });
($x) = $d->wait_running('exec', 1);
ok($x, 'a command that passes');
$d->service(name => 'fail', command => $d->agent(), restart_delay => '10s',
    startup_probe => { type => 'exec', interval => '100ms', timeout => '1s',
        failure_threshold => 2,
        command => ['sh', '-c', 'echo I am not well; exit 3'] });
($x) = $d->wait_instances('fail', sub { $_[0]{state} eq 'failed' });
like($x->{message}, qr/startup probe \(exec\): exit code 3: I am not well/,
    'one that fails, with its words');
$d->service(name => 'hang', command => $d->agent(), restart_delay => '10s',
    startup_probe => { type => 'exec', interval => '100ms',
        timeout => '200ms', failure_threshold => 2,
        command => ['sleep', '1000.75'] });
($x) = $d->wait_instances('hang', sub { $_[0]{state} eq 'failed' });
like($x->{message}, qr/took longer than 200 ms/, 'one that hangs');
ok(wait_for(sub { !descendants("sleep\0001000.75") }), 'and is ended');

# off: running is ready

$d->service(name => 'off', command => $d->agent('mute=1'),
    health_check_enabled => \0);
($x) = $d->wait_instances('off', sub { $_[0]{state} eq 'running' });
is($x->{reason}, 'no_probe', 'without probes running is ready');
is($x->{health}, 'unknown', 'and nothing is known');

# a changed probe is used at once, without a restart

$d->api('PATCH', '/services/echo2', { readiness_probe =>
    { %$ready, path => '/sick' } });
my ($c) = $d->instances('echo2');
$d->api('PATCH', '/services/echo2', { readiness_probe =>
    { type => 'http', path => '/health', interval => '100ms',
    failure_threshold => 1 } });
($x) = $d->wait_instances('echo2', sub { $_[0]{health} eq 'unhealthy' });
is($x->{pid}, $c->{pid}, 'a changed probe restarts nothing');

# the last results can be seen

my $h = $d->api('GET', '/services/echo1/health');
my $text = JSON::PP->new->canonical->encode($h);
like($text, qr/"status 200"/, 'the last results are shown');
like($text, qr/"failed":[1-9]/, 'and how many failed');

$d->finish();

###############################################################################
