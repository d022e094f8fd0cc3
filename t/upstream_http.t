#!/usr/bin/perl

# Tests for plain HTTP through the upstream: methods, bodies, answers of any
# form, agents on unix sockets, and counts while a request is under way.

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

use Digest::SHA qw/sha1_hex/;

my $t = Test::Corral->new()->has(qw/corral corral_status/);

my $agent = $t->agent(id => 'echo.1', port => 8081);
my $unix = $t->agent(id => 'unix.1', socket => 'unix.sock');

$t->state_file(
    services => [
        { name => 'echo' }, { name => 'unix' },
        { name => 'host', upstream_host => 'agent.example' },
        { name => 'dead' }, { name => 'gone' },
    ],
    instances => [
        $agent->instance('echo'), $unix->instance('unix'),
        $agent->instance('host', id => 'host.1'),
        { id => 'dead.1', service => 'dead',
            address => '127.0.0.1:' . port(8089) },
        { id => 'gone.1', service => 'gone',
            address => 'unix:' . $t->testdir() . '/gone.sock' },
    ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(24);

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

    upstream alive {
        corral;
        keepalive  4;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        proxy_set_header     Host $corral_host;
        proxy_read_timeout   800ms;
        corral_service_from  path;

        location / {
            proxy_pass  $corral_scheme://agents;
        }

        location /alive/ {
            corral_service_from  path=/alive/;
            proxy_pass           http://alive;
        }

        location /redirected/ {
            corral_service_from     path=/redirected/;
            proxy_pass              http://agents;
            proxy_intercept_errors  on;
            error_page              404 = /fallback;
        }

        location = /fallback {
            corral_service  echo;
            proxy_pass      http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF

$t->expect_alert(qr/\[crit\].*connect\(\) to unix:\S+gone.sock failed/);
$t->run()->wait_for_revision(1);

###############################################################################

my $body = join '', map { chr } map { $_ % 256 } 1 .. 100_000;
my $r = http_post('/agents/echo/up?x', $body);

like($r, qr{^HTTP/1.1 200 }, 'post');
is(http_body($r, json => 1)->{sha1}, sha1_hex($body), 'whole body');

$r = http("PUT /agents/echo/x HTTP/1.1\r\nHost: localhost\r\n"
    . "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    . "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
is(http_body($r, json => 1)->{method}, 'PUT', 'put');
is(http_body($r, json => 1)->{body}, 'abcde', 'chunked body');

is(http_body(http_get('/agents/echo/chunked')), 'hello, world',
    'chunked answer');
is(length http_body(http_get('/agents/echo/big?n=1000000')), 1_000_000,
    'large answer');
like(http("HEAD /agents/echo/big?n=5 HTTP/1.1\r\nHost: localhost\r\n"
    . "Connection: close\r\n\r\n"), qr/^content-length: 5\r$/mi, 'head');
like(http_get('/agents/echo/status/418'), qr/ 418 .*agent echo.1 says 418/s,
    'status of the agent');

is(http_body(http_get('/agents/unix/x'), json => 1)->{agent}, 'unix.1',
    'unix socket');

like(http_body(http_get('/agents/host/x'), json => 1)->{head},
    qr/^host: agent\.example\r$/mi, 'upstream_host');

# counted while the answer is awaited, given back afterwards

my $s = http("GET /agents/unix/hang HTTP/1.1\r\nHost: localhost\r\n\r\n",
    start => 1);

ok($t->wait_for_counts({ 'unix.1' => 1 })->{'unix.1'}, 'counted');
is($unix->stats()->{open}, 1, 'by the agent, too');

like(http_read($s, until => qr/\r\n\r\n/), qr/ 504 /, 'agent is too slow');
is($t->wait_for_counts({ 'unix.1' => 0 })->{'unix.1'}, 0, 'given back');

# the client goes first

$s = http("GET /agents/unix/sse HTTP/1.1\r\nHost: localhost\r\n\r\n",
    start => 1);
http_read($s, until => qr/id: 2/);
is($t->counts()->{'unix.1'}, 1, 'counted while it streams');
close $s;
is($t->wait_for_counts({ 'unix.1' => 0 })->{'unix.1'}, 0,
    'given back after the client went');

# no agent there

like(http_get('/agents/dead/'), qr/ 502 /, 'refused');
like(http_get('/agents/gone/'), qr/ 502 /, 'no such socket');
like(http_get('/agents/echo/reset'), qr/ 502 /, 'reset');
is($t->wait_for_counts({ 'dead.1' => 0, 'gone.1' => 0 })->{'dead.1'}, 0,
    'nothing held');

# keepalive: the connection stays, the count does not

for (1 .. 4) {
    http_get('/alive/unix/x');
}

is($t->wait_for_counts({ 'unix.1' => 0 })->{'unix.1'}, 0,
    'kept connection is not counted');
my $opened = $unix->stats()->{accepted};
http_get('/alive/unix/x') for 1 .. 4;
cmp_ok($unix->stats()->{accepted} - $opened, '<', 4, 'connection is used again');

# a request that is redirected internally is counted once

my $requests = sub {
    my %services = map { $_->{name} => $_ } @{ $t->status()->{services} };
    return $services{unix}{requests} + $services{echo}{requests};
};
my $n = $requests->();
like(http_get('/redirected/unix/status/404'),
    qr/ 200 .*"agent":"[a-z]+.1".*"uri":"\/fallback"/s, 'redirected');
is($requests->(), $n + 1, 'counted once');

###############################################################################
