#!/usr/bin/perl

# Tests for the access log of relayed connections: one line, when it is over, with
# everything that a log of nginx has and what Corral adds.

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

$t->state_file(services => [ { name => 'echo' },
        { name => 'tls', protocol => 'https' } ],
    instances => [ $agent->instance('echo'),
        { %{ $agent->instance('tls') }, id => 'tls.1' } ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(25);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  all  'addr=$remote_addr user=$remote_user request="$request" '
                     'status=$status sent=$body_bytes_sent/$bytes_sent '
                     'time=$request_time length=$request_length '
                     'agent="$http_user_agent" referer="$http_referer" '
                     'uri=$uri args=$args host=$host uri2=$request_uri '
                     'up=$upstream_addr upstatus=$upstream_status '
                     'uptime=$upstream_response_time '
                     'connect=$upstream_connect_time header=$upstream_header_time '
                     'service=$corral_service id=$corral_service_id '
                     'instance=$corral_instance connection=$corral_connection_id '
                     'code=$corral_close_code closed=$corral_close_sent '
                     'in=$corral_messages_received/$corral_bytes_received '
                     'out=$corral_messages_sent/$corral_bytes_sent '
                     'session=$corral_session';
    access_log  %%TESTDIR%%/all.log  all;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
        }

        location = /status { corral_status; access_log off; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

my $ws = $t->websocket('/agents/echo/a%20b?x=1', headers => [
    'User-Agent: tester/1.0', 'Referer: http://localhost/page',
    'Authorization: Basic dXNlcjpwYXNz' ]);

$ws->ask('!delay 300 ok');
$ws->ask('hello');
is($t->read_file('all.log'), '', 'no line while it is open');
$ws->close(1000);

my $line = $t->wait_for_log(qr/.*\n/, 'all.log');

like($line, qr/^addr=127\.0\.0\.1 /, 'client');
like($line, qr/ user=user /, 'user');
like($line, qr{ request="GET /agents/echo/a%20b\?x=1 HTTP/1\.1" }, 'request');
like($line, qr/ status=101 /, 'status');
like($line, qr{ agent="tester/1\.0" referer="http://localhost/page" },
    'headers of the request');
like($line, qr{ uri2=/agents/echo/a%20b\?x=1 }, 'target of the client');
like($line, qr{ args=x=1 host=localhost }, 'arguments and host');
like($line, qr/ up=127\.0\.0\.1:${\ port(8081)} upstatus=101 /, 'upstream');
like($line, qr/ connect=\d+\.\d{3} header=\d+\.\d{3} /, 'upstream times');

my ($time) = $line =~ / time=([\d.]+) /;
cmp_ok($time, '>=', 0.3, 'time: the whole connection');

my ($request) = $line =~ / length=(\d+) /;
cmp_ok($request, '>', 100, 'length of the request');

like($line, qr/ service=echo id=id-echo instance=echo\.1 /, 'service');
like($line, qr/ connection=[0-9a-f]{16} /, 'connection');
like($line, qr/ code=1000 closed=1 /, 'close');

# two messages each way; a masked frame has six bytes more, and the answer to
# the close counts, too

my $in = 6 + length('!delay 300 ok') + 6 + length('hello') + 6 + 2;
my $out = 2 + length('ok') + 2 + length('hello') + 2 + 2;

like($line, qr{ in=2/$in }, 'messages and bytes of the client');
like($line, qr{ out=2/$out }, 'messages and bytes of the agent');

my ($bytes) = $line =~ m{ sent=\d+/(\d+) };
is($bytes, length($ws->head()) + $out, 'all bytes sent to the client');
is(scalar(() = $t->read_file('all.log') =~ /\n/g), 1, 'one line');

# a client that vanishes, an agent that vanishes

$t->websocket('/agents/echo/vanish')->disconnect();
like($t->wait_for_log(qr{.*/vanish .*}, 'all.log'), qr/ code=1006 /,
    'client vanished');

$ws = $t->websocket('/agents/echo/agent');
$ws->send_text('!drop');
$ws->close_code();
$ws->disconnect();
like($t->wait_for_log(qr{.*/agent .*}, 'all.log'), qr/ code=1006 /,
    'agent vanished');

# a handshake that was refused has a line as any request

$t->websocket('/agents/echo/refused', key => undef);
like($t->wait_for_log(qr{.*/refused .*}, 'all.log'),
    qr/ status=400 .* connection=- code=- /, 'refused handshake');

$t->websocket('/agents/echo/status/403');
like($t->wait_for_log(qr{.*/status/403 .*}, 'all.log'),
    qr/ status=403 .* upstatus=403 .* code=- /, 'handshake the agent refused');

$t->websocket('/agents/tls/protocol');
like($t->wait_for_log(qr{.*/protocol .*}, 'all.log'),
    qr{ status=502 .* connection=- code=- closed=- in=-/- },
    'handshake that there is no way for');

# nothing that a client sends breaks a line

$t->websocket('/agents/echo/quote', headers => [ 'User-Agent: a"b' ])->close();
like($t->wait_for_log(qr{.*/quote .*}, 'all.log'), qr/ agent="a\\x22b" /,
    'quotes are escaped');

###############################################################################
