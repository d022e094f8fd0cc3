#!/usr/bin/perl

# The first walk of docs/architecture.md: what happens to one connection, from
# listen to log.  Two agents serve one service; what Corral counts is compared
# with what the agents saw.

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

my $t = Test::Corral->new()->has(qw/corral corral_websocket corral_status/);

my $one = $t->agent(id => 'echo.1', port => 8081);
my $two = $t->agent(id => 'echo.2', socket => 'echo.2.sock');

$t->state_file(revision => 7,
    services => [ { name => 'echo' } ],
    instances => [ $one->instance('echo'), $two->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(29);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    log_format  corral  '$corral_service $corral_instance $status '
                        '$upstream_addr "$request"';
    access_log  %%TESTDIR%%/corral.log  corral;

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
        corral_balance  round_robin;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path query;
            corral_websocket     agents;

            proxy_pass           $corral_scheme://agents;
            proxy_http_version   1.1;
            proxy_set_header     Connection "";
            proxy_set_header     Host $corral_host;
            proxy_buffering      off;
        }

        location = /status {
            corral_status;
            access_log  off;
        }
    }
}

EOF

$t->run();
ok($t->wait_for_revision(7), 'registry is there');

###############################################################################

# identify: headers that only the gateway may set do not pass, and the agent
# hears who the client is

my $ws = $t->websocket('/agents/echo/chat?room=1',
    headers => [ 'Corral-Subject: mallory', 'X-Mine: yes' ]);

ok($ws->accepted(), 'handshake');

my $head = $ws->ask('!head');

unlike($head, qr/corral-subject|mallory/i, 'forged header removed');
like($head, qr/^x-forwarded-for: 127\.0\.0\.1\r$/mi, 'client named');
like($head, qr/^x-mine: yes\r$/mi, 'other header kept');

# route: the path names the service, the agent sees the rest of it

like($head, qr{\AGET /chat\?room=1 HTTP/1\.1\r\n}, 'prefix taken off');
like($head, qr{^x-forwarded-prefix: /agents/echo\r$}mi, 'prefix told');

my $query = $t->websocket('/chat?service=echo');
ok($query->accepted(), 'service by query');

like(http_get('/agents/nobody/'), qr/ 404 .*"code":"service_not_found"/s,
    'unknown service');

# reserve: round robin over the instances, counted by Corral and by the agents

my %at = ($ws->ask('!id') => 1);
$at{$query->ask('!id')}++;

is_deeply(\%at, { 'echo.1' => 1, 'echo.2' => 1 }, 'one each');
is_deeply($t->wait_for_counts({ 'echo.1' => 1, 'echo.2' => 1 }),
    { 'echo.1' => 1, 'echo.2' => 1 }, 'one each for corral');
is($one->stats()->{websockets}, 1, 'one for the first agent');
is($two->stats()->{websockets}, 1, 'one for the second');

# relay: messages of any size come back unchanged and in order

is($ws->numbered(50), '', 'small messages in order');
is($ws->numbered(5, 100_000), '', 'large messages in order');

$ws->send_ping('are you there');
is($ws->ask('still'), 'still', 'message after a ping');
is(join(',', $ws->pongs()), 'are you there', 'pong of the agent');

# what is not a WebSocket goes to proxy_pass, to the same instances

like(http_get('/agents/echo/items?id=1'), qr{ 200 .*"uri":"/items\?id=1"}s,
    'http');
like(http_get('/agents/echo/sse?n=3'), qr/id: 1\n.*id: 2\n.*id: 3\n/s, 'sse');
is_deeply($t->wait_for_counts({ 'echo.1' => 1, 'echo.2' => 1 }),
    { 'echo.1' => 1, 'echo.2' => 1 }, 'requests given back');

# close: either side may, the other one hears the code

is($ws->close(1000, 'bye'), 1000, 'client closes');
ok($ws->ended(), 'and is disconnected');

$query->send_text('!close 4001 enough');
is($query->close_code(), 4001, 'agent closes');
is($query->close_reason(), 'enough', 'with its reason');

is_deeply($t->wait_for_counts({ 'echo.1' => 0, 'echo.2' => 0 }),
    { 'echo.1' => 0, 'echo.2' => 0 }, 'nothing is held');
is($one->stats()->{websockets} + $two->stats()->{websockets}, 0,
    'nor at the agents');

# log: one line each, when it is over

my $log = $t->wait_for_log(qr/"GET \/chat\?service=echo/, 'corral.log')
    ? $t->read_file('corral.log') : '';

like($log, qr{^echo echo\.[12] 101 \S+ "GET /agents/echo/chat\?room=1 HTTP}m,
    'websocket logged');
like($log, qr/^echo echo\.[12] 200 \S+ "GET \/agents\/echo\/items/m,
    'request logged');
like($log, qr/^- - 404 - "GET \/agents\/nobody\/ /m, 'refusal logged');

###############################################################################
