#!/usr/bin/perl

# Tests for corral_mirror: copies of a service's requests go to another one, and
# the client sees nothing of it, whatever becomes of them.

###############################################################################

use warnings;
use strict;

use Digest::SHA qw/sha1_hex/;
use IO::Select;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_mirror corral_redis corral_status corral_websocket
        redis-server/);

my $agent = $t->agent(id => 'main.1', port => 8081);
my $shadow = $t->agent(id => 'shadow.1', port => 8082);

my $store = Test::Corral::Store->new($t->redis());
$store->epoch('e1');

my %shadow = (affinity => 'client_ip');

my $revision = $store->commit(
    $store->service('main', mirror => 'shadow'),
    $store->service('plain'),
    $store->service('shadow', %shadow),
    $store->service('down'),
    $store->service('broken', max_fails => 0, circuit_failures => 2,
        circuit_timeout => '1h'),
    $store->service('grpc', protocol => 'grpc'),
    $store->instance('main', 'main.1', $agent->address()),
    $store->instance('plain', 'plain.1', $agent->address()),
    $store->instance('shadow', 'shadow.1', $shadow->address()),
    $store->instance('down', 'down.1', '127.0.0.1:' . port(8089)),
    $store->instance('broken', 'broken.1', '127.0.0.1:' . port(8089)),
    $store->instance('grpc', 'grpc.1', $shadow->address()));

$t->write_file_expand('nginx.conf', <<'EOF')->plan(69);

%%TEST_GLOBALS%%

worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  unix:%%TESTDIR%%/redis.8379.sock;

    log_format  uri  '"$request_uri" $corral_service $corral_instance';

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version   1.1;
        proxy_set_header     Host $corral_host;
        client_body_buffer_size  4k;

        location / {
            corral_service_from    path;
            corral_mirror          /mirror;
            corral_mirror_timeout  30s;
            corral_websocket       agents;
            proxy_pass             $corral_scheme://agents;
            access_log             %%TESTDIR%%/uri.log uri;
        }

        location /soon/ {
            corral_service_from    path=/soon/;
            corral_mirror          /mirror;
            corral_mirror_timeout  100ms;
            proxy_pass             http://agents;
        }

        location /off/ {
            corral_service_from    path=/off/;
            proxy_pass             http://agents;
        }

        location /unbuffered/ {
            corral_service_from      path=/unbuffered/;
            corral_mirror            /mirror;
            proxy_request_buffering  off;
            proxy_pass               http://agents;
        }

        location /redirected/ {
            corral_service_from     path=/redirected/;
            corral_mirror           /mirror;
            proxy_pass              http://agents;
            proxy_intercept_errors  on;
            error_page              404 = /fallback;
        }

        location = /fallback {
            corral_service  main;
            corral_mirror   /mirror;
            proxy_pass      http://agents;
        }

        location = /mirror {
            internal;
            proxy_pass           $corral_scheme://agents;
            proxy_set_header     Host $corral_host;
            proxy_set_header     X-Uri $request_uri;
            proxy_read_timeout   60s;
        }

        location = /status { corral_status; }
        location = /metrics { corral_metrics; }
    }
}

EOF

$t->run();
$t->wait_for_revision($revision);

###############################################################################

# what a copy is: the same request, but for one header

my $r = http_get('/agents/main/a%2Fb?x=1&y', headers => [ 'X-One: 1',
    'Corral-Mirror: forged', 'Cookie: a=b' ]);

is(http_body($r, json => 1)->{agent}, 'main.1', 'the answer is the agent\'s');
unlike($r, qr/^set-cookie/mi, 'nothing of the copy is in it');

my $copy = copy(1);
my ($first) = $agent->requests();

like($copy, qr{^GET /a%2Fb\?x=1&y HTTP/1.1\r}, 'method, path and arguments');
like($copy, qr{^corral-mirror: 1\r$}mi, 'says that it is a copy');
unlike($copy, qr{forged}, 'which no client can say');
unlike($first, qr{corral-mirror}i, 'and the request does not');
like($copy, qr{^x-uri: /a%2Fb\?x=1&y\r$}mi, 'its variables are its own');
$copy =~ s/^(corral-mirror|x-uri): .*\r\n//mig;
is($copy, $first, 'nothing else differs');
counted(1, 0, 0, 'it is counted');

my $body = join '', map { chr } map { $_ % 256 } 1 .. 50_000;
$r = http_body(http_post('/agents/main/post', $body), json => 1);
is($r->{sha1}, sha1_hex($body), 'a body');
ok(wait_for(sub { last_sha1($shadow) eq sha1_hex($body) }), 'and its copy');

my $chunked = "PUT /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    . "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";

$r = http_body(http(sprintf $chunked, 'agents/main/put'), json => 1);
is("$r->{method} $r->{body}", 'PUT abcde', 'a chunked body');
like(copy(3), qr{^PUT /put }, 'is a PUT');
is(last_sha1($shadow), sha1_hex('abcde'), 'and its copy');

$r = http_body(http(sprintf $chunked, 'unbuffered/main/put'), json => 1);
is("$r->{method} $r->{body}", 'PUT abcde', 'read before it is passed');
ok(copy(4), 'a copy');
is(last_sha1($shadow), sha1_hex('abcde'), 'whole, too');

like(http("HEAD /agents/main/h HTTP/1.1\r\nHost: localhost\r\n"
    . "Connection: close\r\n\r\n"), qr/ 200 /, 'HEAD');
like(copy(5), qr/^HEAD /, 'and its copy');

ok($t->wait_for_log(qr{^"/agents/main/a%2Fb\?x=1&y" main main\.1$}m, 'uri.log'),
    'the log has the request, not the copy');
ok(wait_for(sub { 4 == (() = $t->read_file('uri.log') =~ /\n/g) }),
    'one line each');

like(http_get('/redirected/main/status/404'), qr{ 200 .*"uri":"/fallback"}s,
    'a request that is redirected');
like(copy(6), qr{^GET /status/404 }, 'is copied once');

http_get('/agents/none/../main/a%20b');
like(copy(7), qr{^GET /a%20b }, 'a path that was normalised');

# who has none

my $n = $shadow->stats()->{requests};

http_get('/agents/plain/x');
http_get('/off/main/x');
like(http_get('/agents/none/x'), qr/ 404 /, 'unknown service');
http_get('/agents/main/x', headers => [ 'Connection: upgrade, close',
    'Upgrade: other' ]);
like(http_get('/mirror'), qr/ 404 /, 'the location is not for clients');

my $ws = $t->websocket('/agents/main/ws');
is($ws->ask('hello'), 'hello', 'a WebSocket');
$ws->close();

http_get('/agents/main/last');
like(copy($n + 1), qr{^GET /last }, 'none of them was copied');
counted(8, 0, 0, 'nor counted');

# the share, changed while nginx runs

main(mirror_percent => 0);
http_get("/agents/main/x") for 1 .. 50;
main(mirror_percent => 100);
http_get('/agents/main/full');
like(copy($n + 2), qr{^GET /full }, '0 percent: none of 50');
counted(9, 0, 0, 'nor counted');

http_get("/agents/main/x") for 1 .. 50;
ok(copy($n + 52), '100 percent: all of 50');
counted(59, 0, 0, 'and counted');

main(mirror_percent => 50);
http_get("/agents/main/x") for 1 .. 400;
my $half = service('main')->{mirrored} - 59;
cmp_ok($half, '>', 120, '50 percent: not few');
cmp_ok($half, '<', 280, 'not many');
ok(copy($n + 52 + $half), 'each is there');

main(mirror => '');
my $mirrored = service('main')->{mirrored};
http_get("/agents/main/x") for 1 .. 10;
counted($mirrored, 0, 0, 'none any more');

# a shadow that cannot take a copy

my $dropped = 0;

for my $case ([ 'absent', 'no such service' ], [ 'grpc', 'speaks gRPC' ]) {
    main(mirror => $case->[0]);
    is(http_body(http_get('/agents/main/x'), json => 1)->{agent}, 'main.1',
        $case->[1]);
    counted($mirrored, ++$dropped, 0, 'dropped');
}

$store->commit($store->service('shadow', %shadow, max_sessions => 1,
    queue_size => 10));
main(mirror => 'shadow');

# one that says nothing: the next request on the connection need not wait, nor
# does who waits for the end of it

$shadow->set(mode => 'hang');
my $frozen = $shadow->stats()->{requests};

my $s = http("GET /agents/main/1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    start => 1);
like(http_read($s, until => qr/"uri"/), qr{"uri":"/1"}, 'frozen: answered');
ok(wait_for(sub { $shadow->stats()->{requests} == $frozen + 1 }),
    'the copy is there');
is($t->wait_for_counts({ 'shadow.1' => 1 })->{'shadow.1'}, 1, 'and counted');

is(http_body(http_get('/agents/main/full'), json => 1)->{agent}, 'main.1',
    'full: answered');
counted($mirrored + 1, ++$dropped, 0, 'dropped, not queued');

print $s "GET /agents/plain/2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
like(http_read($s, until => qr/"uri"/), qr{"uri":"/2"},
    'the next request is answered');
counted($mirrored + 1, $dropped, 1, 'and the copy cut');
is($t->wait_for_counts({ 'shadow.1' => 0 })->{'shadow.1'}, 0, 'given back');

$s = http("GET /agents/main/3 HTTP/1.1\r\nHost: localhost\r\n"
    . "Connection: close\r\n\r\n", start => 1);
like(http_read($s, until => qr/"uri"/), qr{"uri":"/3"}, 'one that is to end');
ok(ended($s), 'ends');
is($t->counts()->{'shadow.1'}, 1, 'and the copy goes on');

# a client that goes takes its copy with it only when the time is over

$s = http("GET /agents/main/4 HTTP/1.1\r\nHost: localhost\r\n"
    . "Connection: close\r\n\r\n", start => 1);
like(http_read($s), qr{"uri":"/4"}, 'full again');
counted($mirrored + 2, ++$dropped, 1, 'dropped');

$shadow->drop();
is($t->wait_for_counts({ 'shadow.1' => 0 })->{'shadow.1'}, 0,
    'the shadow ends it');

like(http_get('/soon/main/5'), qr{"uri":"/5"}, 'corral_mirror_timeout');
counted($mirrored + 3, $dropped, 2, 'ends it, too');

# one that fails: it is ejected, and then nothing is sent

$shadow->set(mode => '500');
like(http_get('/agents/main/6'), qr{ 200 .*"uri":"/6"}s, '500: answered');
counted($mirrored + 4, $dropped, 2, 'counted as a copy');

main(mirror => 'down');
like(http_get('/agents/main/7'), qr{ 200 .*"uri":"/7"}s, 'down: answered');
ok(wait_for(sub { $t->instance('down.1')->{availability} ne 'available' }),
    'ejected');
like(http_get('/agents/main/8'), qr{ 200 .*"uri":"/8"}s, 'answered');
counted($mirrored + 5, ++$dropped, 2, 'no copy for an ejected one');

main(mirror => 'broken');
like(http_get('/agents/main/9'), qr{ 200 .*"uri":"/9"}s, "answered") for 1, 2;
ok(wait_for(sub { service('broken')->{circuit} eq 'open' }), 'circuit open');
http_get('/agents/main/10');
counted($mirrored + 7, ++$dropped, 2, 'no copy for an open circuit');

is_deeply($store->command('KEYS', $store->key('session', '*')), [],
    'no copy has made a session');

like(http_get('/metrics'), qr/^corral_service_mirrored_total\{[^}]*"main"[^}]*\}
    \ @{[ $mirrored + 7 ]}$/mx, 'a metric');

###############################################################################

sub main {
    my (%doc) = @_;
    my $revision = $store->commit($store->service('main',
        mirror => 'shadow', %doc));
    defined $store->wait_acks(1, $revision, 5) or die "not applied\n";
}

sub service {
    my ($name) = @_;
    my ($s) = grep { $_->{name} eq $name } @{ $t->status()->{services} };
    return $s;
}

sub counted {
    my ($mirrored, $dropped, $cut, $name) = @_;
    my $want = "$mirrored $dropped $cut";
    my $got = sub {
        my $s = service('main');
        return "$s->{mirrored} $s->{mirror_dropped} $s->{mirror_cut}";
    };
    wait_for(sub { $got->() eq $want });
    is($got->(), $want, $name);
}

# the head of the n-th request that the shadow has got, none being behind it

sub copy {
    my ($n) = @_;
    wait_for(sub { $shadow->stats()->{requests} >= $n });
    return if $shadow->stats()->{requests} != $n;
    return ($shadow->requests())[-1];
}

# the other side says that it is the end

sub ended {
    my ($s) = @_;
    my $select = IO::Select->new($s);
    while ($select->can_read(5)) {
        sysread $s, my $buf, 65536 or return 1;
    }
    return 0;
}

sub last_sha1 {
    my ($agent) = @_;
    return $agent->stats()->{sha1} // '';
}

###############################################################################
