#!/usr/bin/perl

# Tests for pings of the gateway: both sides are asked, a dead one is dropped, and
# an agent that thinks for long is not dead.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::WebSocket qw/:frames/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);
my $frozen = $t->agent(id => 'frozen.1', socket => 'frozen.sock');

$t->state_file(services => [ { name => 'echo' }, { name => 'frozen' } ],
    instances => [ $agent->instance('echo'), $frozen->instance('frozen') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(17);

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
            corral_ping_interval  200ms;
            corral_ping_timeout   300ms;
            corral_close_timeout  200ms;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# both sides are asked; the answers to these pings go no further

my $ws = $t->websocket('/agents/echo/');

is($ws->ask('!delay 1000 done', 4), 'done', 'agent thinks for long');
cmp_ok(scalar($ws->pings()), '>=', 2, 'client was asked');
cmp_ok($agent->stats()->{pings}, '>=', 2, 'agent was asked');
is(scalar($ws->pongs()), 0, "agent's pongs are not passed");
is($agent->stats()->{pongs}, 0, "nor the client's");

# pings of either side go to the other side, and so do their answers

$ws->send_ping('from client');
$ws->send_text('!ping from agent');
wait_for(sub { $ws->read_message(0.1); $agent->stats()->{pongs} == 1 });
is(join(',', grep { /from/ } $ws->pongs()), 'from client', 'ping of the client');
is(scalar(grep { $_ eq 'from agent' } $ws->pings()), 1, 'ping of the agent');
is($agent->stats()->{pongs}, 1, 'answered');

# no ping inside a frame: one that takes a second comes whole, and bytes of a
# frame are a sign of life

$ws->auto(0);
$ws->send_slow($ws->frame(TEXT, 'whole'), 0.1);
$ws->auto(1);
is($ws->read_message(), 'whole', 'frame that takes long is not broken');
is($ws->close(), 1000, 'closed');

# a client that is gone without a word

$ws = $t->websocket('/agents/echo/');
is($ws->ask('!id'), 'echo.1', 'another client');
ok(wait_for(sub { $agent->stats()->{websockets} == 0 }, 3),
    'silent client is dropped');

# an agent that is

$agent->set(stall => 1);
$ws = $t->websocket('/agents/echo/', start => 1);
$agent->set(stall => 0);
$ws->handshake();
$agent->set(stall => 1);
my $start = time();
is($ws->close_code(4), 1011, 'silent agent: 1011');
cmp_ok(time() - $start, '<=', 3, 'soon');
$agent->set(stall => 0);

# one whose process is frozen, while its client goes on talking: what lies in
# the queue of a unix socket is not taken

$ws = $t->websocket('/agents/frozen/');
is($ws->ask('!id'), 'frozen.1', 'an agent on a path');
kill 'STOP', $frozen->pid();
is(wait_for(sub { $ws->send_text('hello'); $ws->close_code(0.05) }, 3), 1011,
    'frozen agent of a client that talks: 1011');
kill 'CONT', $frozen->pid();

# the count is right

is($t->wait_for_counts({ 'echo.1' => 0 })->{'echo.1'}, 0, 'nothing is held');

###############################################################################
