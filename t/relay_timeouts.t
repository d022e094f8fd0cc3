#!/usr/bin/perl

# Tests for the time-outs of the relay: connect, handshake and idle.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

use IO::Socket::INET;
use Time::HiRes qw/time/;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);
my $other = $t->agent(id => 'echo.2', port => 8082);

# an address where a connection is neither made nor refused: its queue is full

my $full = IO::Socket::INET->new(Proto => 'tcp', Listen => 0,
    LocalAddr => '127.0.0.1:' . port(8083)) or die "Can't listen: $!\n";
my @fill = map {
    IO::Socket::INET->new(Proto => 'tcp', Blocking => 0,
        PeerAddr => '127.0.0.1:' . port(8083))
} 1 .. 4;

$t->state_file(
    services => [
        { name => 'echo', tries => 1 }, { name => 'two', max_fails => 0 },
        { name => 'full', tries => 1 },
        { name => 'own', idle_timeout => '2s', handshake_timeout => '1s',
            tries => 1 },
        { name => 'never', idle_timeout => 0 },
    ],
    instances => [
        $agent->instance('echo'),
        $agent->instance('two', id => 'two.1'),
        $other->instance('two', id => 'two.2'),
        $agent->instance('own', id => 'own.1'),
        $agent->instance('never', id => 'never.1'),
        { id => 'full.1', service => 'full',
            address => '127.0.0.1:' . port(8083) },
    ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(20);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
            corral_connect_timeout    200ms;
            corral_handshake_timeout  300ms;
            corral_idle_timeout       600ms;
            corral_close_timeout      200ms;
            corral_ping_interval      0;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# an agent that does not answer the handshake

$agent->set(mode => 'hang');

my $start = time();
my $ws = $t->websocket('/agents/echo/');
is($ws->status(), 504, 'no answer to the handshake');
like($ws->header('content-type'), qr/problem\+json/, 'a problem document');
cmp_ok(time() - $start, '>', 0.25, 'not before the time');
cmp_ok(time() - $start, '<', 2, 'nor long after it');

# with another instance the client does not notice

for (1, 2) {
    $ws = $t->websocket('/agents/two/');
    is($ws->ask('!id'), 'echo.2', "another instance answers, $_");
    $ws->close();
}

# the service's own time is longer

$start = time();
is($t->websocket('/agents/own/')->status(), 504, "service's own time");
cmp_ok(time() - $start, '>', 0.9, 'is waited for');

$agent->set(mode => 'ok', delay => 0.6);
is($t->websocket('/agents/own/')->status(), 101, 'a late answer within it');
$agent->set(delay => 0);

# an agent that cannot be reached

$start = time();
is($t->websocket('/agents/full/')->status(), 504, 'no connection');
cmp_ok(time() - $start, '<', 2, 'connect time-out');

# idle: no message either way

$ws = $t->websocket('/agents/echo/');
$start = time();
my $code = $ws->close_code();
cmp_ok(time() - $start, '>', 0.5, 'not before the time, idle');
cmp_ok(time() - $start, '<', 2.5, 'nor long after it, idle');
is($code, 1001, 'idle: 1001');
ok($ws->ended(), 'disconnected');
ok(wait_for(sub { $agent->stats()->{websockets} == 0 }), 'at the agent, too');

# messages keep it open, from one side alone as well

$ws = $t->websocket('/agents/echo/');
$agent->set(echo => 0);
$start = time();
wait_for(sub { $ws->send_text('x'); time() - $start > 1.2 }, 3);
is($ws->read_message(0.05), undef, 'nothing comes back');
is($ws->close(), 1000, 'used connection stays open');
$agent->set(echo => 1);

# 0: never

$ws = $t->websocket('/agents/never/');
$start = time();
$ws->read_message(1.2);
is($ws->ask('hello'), 'hello', 'never idle');

# pings do not keep it open: they say nothing of its use

$ws = $t->websocket('/agents/echo/');
$start = time();
wait_for(sub { $ws->send_ping('x'); $ws->read_message(0.1);
    $ws->ended(0) || time() - $start > 3 }, 4);
cmp_ok(time() - $start, '<', 2.5, 'pings are no messages');

###############################################################################
