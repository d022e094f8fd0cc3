#!/usr/bin/perl

# Tests for the WebSocket handshake: what the relay answers itself, what it offers
# the agent, and what it checks of the agent's answer.

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

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(32);

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

# handshakes that break the protocol never reach the agent

my $start = $agent->stats()->{requests};

for my $case (
    [ 'no key', key => undef ],
    [ 'short key', key => 'YWJj' ],
    [ 'key that is no base64', key => '!' x 22 . '==' ],
    [ 'no version', version => undef ],
    [ 'no upgrade in connection', connection => 'keep-alive' ],
    [ 'method', method => 'POST' ],
    [ 'http version', http => 'HTTP/1.0' ],
    [ 'body', headers => [ 'Content-Length: 1' ], after => 'x' ],
) {
    my ($name, %opt) = @$case;
    my $ws = $t->websocket('/agents/echo/', %opt);
    is($ws->status(), 400, "400: $name");
}

my $ws = $t->websocket('/agents/echo/', version => 8);
is($ws->status(), 426, '426: another version');
is($ws->header('sec-websocket-version'), 13, 'which one is spoken');

is($t->websocket('/agents/nobody/')->status(), 404, 'unknown service');
is($t->websocket('/agents/echo/', origin => 'http://evil.example')->status(),
    403, 'foreign origin');
is($agent->stats()->{requests}, $start, 'none of them reached the agent');

# tokens and lists are read as HTTP says

$ws = $t->websocket('/agents/echo/', upgrade => 'WebSocket',
    connection => 'keep-alive, UPGRADE');
ok($ws->accepted(), 'capitals and lists');
$ws->close();

# what the client offers reaches the agent; its choice comes back

$agent->set(headers => [ 'Sec-WebSocket-Protocol: chat.v2', 'X-Agent: 7' ]);
$ws = $t->websocket('/agents/echo/x/%20y?a=b', protocol => 'chat.v1, chat.v2',
    origin => 'http://localhost', headers => [ 'Cookie: a=b',
        'Authorization: Bearer t', 'User-Agent: me' ]);
ok($ws->accepted(), 'subprotocols');
is($ws->header('sec-websocket-protocol'), 'chat.v2', 'chosen one');
is($ws->header('x-agent'), 7, "agent's own header");

my $head = $ws->ask('!head');
like($head, qr{^GET /x/%20y\?a=b HTTP/1\.1\r$}m, 'path and query');
like($head, qr/^sec-websocket-protocol: chat\.v1, chat\.v2\r$/mi, 'offer');
like($head, qr/^sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r$/mi, 'key');
like($head, qr/^$_\r$/mi, $_)
    for 'cookie: a=b', 'authorization: Bearer t', 'user-agent: me',
        'origin: http://localhost', 'host: localhost', 'upgrade: websocket',
        'connection: upgrade';
$ws->close();

# a choice that was not offered is not passed on

$agent->set(headers => [ 'Sec-WebSocket-Protocol: other' ]);
is($t->websocket('/agents/echo/', protocol => 'chat')->status(), 502,
    'subprotocol that was not offered');

$agent->set(headers => [ 'Sec-WebSocket-Extensions: permessage-deflate' ]);
is($t->websocket('/agents/echo/')->status(), 502,
    'extension that was not offered');

# permessage-deflate passes end to end: then RSV1 is allowed

$ws = $t->websocket('/agents/echo/', extensions => 'permessage-deflate');
is($ws->header('sec-websocket-extensions'), 'permessage-deflate', 'extension');
$ws->send_frame(TEXT, 'not really deflated', rsv => 4);
is($ws->ask('still open'), 'not really deflated', 'rsv1 with the extension');
$ws->disconnect();

# an answer that does not fit the key is no handshake

$agent->set(headers => [], accept => 'AAAAAAAAAAAAAAAAAAAAAAAAAAA=');
is($t->websocket('/agents/echo/')->status(), 502, 'wrong accept');

###############################################################################
