#!/usr/bin/perl

# Tests for answers of an agent that are no handshake: the client gets them whole.

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

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

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
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# status, headers and body pass

$agent->set(headers => [ 'WWW-Authenticate: Bearer', 'X-Two: a', 'X-Two: b',
    'Content-Type: text/x-agent', 'Set-Cookie: a=b' ]);
my $ws = $t->websocket('/agents/echo/status/401');

is($ws->status(), 401, 'status');
is($ws->header('www-authenticate'), 'Bearer', 'header');
is(scalar(() = $ws->head() =~ /^x-two: /mgi), 2, 'header twice');
is($ws->header('content-type'), 'text/x-agent', 'type');
is($ws->header('set-cookie'), 'a=b', 'cookie');
is($ws->header('content-length'), 22, 'length');
is($ws->body(), "agent echo.1 says 401\n", 'body') or diag $ws->body();
ok(!defined $ws->header('sec-websocket-accept'), 'no handshake');
$agent->set(headers => []);

# redirects, and answers without a body

is($t->websocket('/agents/echo/status/204')->status(), 204, 'no body');
is($t->websocket('/agents/echo/status/302')->status(), 302, 'redirect');

# 200: an agent that speaks no WebSocket; any form of body

$agent->set(mode => 200);
is($t->websocket('/agents/echo/')->status(), 200, 'no WebSocket there');
$agent->set(mode => 'raw', raw => "HTTP/1.1 200 OK\r\n"
    . "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
$ws = $t->websocket('/agents/echo/');
like($ws->head() . $ws->body(), qr/hello/, 'chunked body');
$agent->set(raw => "HTTP/1.0 403 No\r\n\r\n" . 'long ' x 40_000);
is(length $t->websocket('/agents/echo/')->body(), 200_000,
    'large body up to the end of the connection');

# what is no HTTP at all

$agent->set(raw => "SSH-2.0-OpenSSH_9.2\r\n\r\n");
is($t->websocket('/agents/echo/')->status(), 502, 'no HTTP');
$agent->set(raw => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n"
    . "Connection: Upgrade\r\n\r\n");
is($t->websocket('/agents/echo/')->status(), 502, 'another protocol');
$agent->set(raw => "HTTP/1.1 200 OK\r\nX-Long: " . 'x' x 100_000 . "\r\n\r\n");
is($t->websocket('/agents/echo/')->status(), 502, 'header without an end');

# the client's connection may be used again

$agent->set(mode => 404);
my $s = http("GET /agents/echo/ HTTP/1.1\r\nHost: localhost\r\n"
    . "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    . "Sec-WebSocket-Version: 13\r\n"
    . "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    . "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    start => 1);
like(http_read($s), qr{^HTTP/1.1 404 .*says 404\n.*HTTP/1.1 200 .*"revision"}s,
    'next request on the connection');

###############################################################################
