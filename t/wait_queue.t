#!/usr/bin/perl

# Tests for the queue of the wait step in one worker: who waits, in which order
# places are given, and how waiting ends.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'one.1', socket => 'one.sock');
my $revision = 0;

state();

$t->write_file_expand('nginx.conf', <<'EOF')->plan(37);

%%TEST_GLOBALS%%

worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  queue  "$uri $status queue=$corral_queue_time";
    access_log  %%TESTDIR%%/access.log  queue;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        proxy_buffering      off;
        corral_service_from  path;

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }

        location = /metrics {
            corral_service  off;
            corral_metrics;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# those that find no place wait, and are served in the order they came

my $first = $t->websocket('/agents/one/');
is(service()->{active}, 1, 'a place is taken');

my @waiting = map { wait_more("/agents/one/$_", $_) } 1 .. 3;

is(service()->{waiting}, 3, 'three wait');
is($t->instance('one.1')->{reserved}, 0, 'nothing is reserved for them');
is($agent->stats()->{accepted}, 1, 'the agent sees nothing of them');
like(http_get('/metrics'),
    qr/^corral_service_waiting_requests\{service="one"\} 3$/m, 'metric');

# one too many

my $start = time();
my $r = http_get('/agents/one/');
like($r, qr/ 503 .*^Retry-After: 1\r\n.*"code":"queue_full"/ms, 'queue is full');
like($r, qr/max_sessions.*3 requests wait already/, 'and says so');
cmp_ok(time() - $start, '<', 1, 'at once');

$first->close();
is($waiting[0]->handshake()->status(), 101, 'the first that waits is served');
is($waiting[0]->ask('hello'), 'hello', 'and works');
is(service()->{waiting}, 2, 'the others wait on');

$waiting[0]->close();
is($waiting[1]->handshake()->status(), 101, 'the second');

# the next one does not pass those that wait

my $later = wait_more('/agents/one/later', 2);
$waiting[1]->close();
is($waiting[2]->handshake()->status(), 101, 'the third');
is(service()->{waiting}, 1, 'the later one waits');
$waiting[2]->close();
is($later->handshake()->status(), 101, 'the later one');

like($t->wait_for_log(qr{/3 101 queue=\d\.\d\d\d}, 'access.log'), qr/queue/,
    'time in the log');
like($t->wait_for_log(qr{ 101 queue=-}, 'access.log'),
    qr/queue=-/, 'only of those that waited');

# a client that leaves gives its place in the queue back

my $gone = wait_more('/agents/one/gone', 1);
my $stays = wait_more('/agents/one/stays', 2);

$gone->{socket}->close();
is(waits(1), 1, 'a client that left does not wait');
is(service()->{queue_aborts}, 1, 'it is counted');

$later->close();
is($stays->handshake()->status(), 101, 'the one behind it is served');
$stays->close();

# HTTP and SSE wait, too

my $sse = http("GET /agents/one/sse HTTP/1.1\r\nHost: a\r\n\r\n", start => 1);
http_read($sse, until => qr/data: /);
my $post = http("POST /agents/one/post HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nContent-Length: 100000\r\n\r\n" . 'x' x 100000,
    start => 1);
is(waits(1), 1, 'a POST waits');
close $sse;
like(http_read($post), qr/ 200 .*"length":100000/s, 'with its body');

# the time

state(queue_timeout => '300ms');

$first = $t->websocket('/agents/one/');
$start = time();
$r = http_get('/agents/one/');
like($r, qr/ 503 .*^Retry-After: 1\r\n.*"code":"queue_timeout"/ms, 'time-out');
like($r, qr/it has waited for \d\d\d ms/, 'and says so');
cmp_ok(time() - $start, '>=', 0.29, 'not before its time');
is(service()->{queue_timeouts}, 1, 'it is counted');
$first->close();
is($t->websocket('/agents/one/')->ask('x'), 'x', 'the place is not lost');
$t->close_clients();

# nothing is ready, then something is; a paused service holds its clients

for my $case ([ 'not ready', {}, { state => 'starting' } ],
    [ 'paused', { desired => 'paused' }, {} ])
{
    my ($what, $service, $instance) = @$case;

    state(%$service, instance => $instance);
    my $ws = wait_more("/agents/one/$revision", 1);
    state();
    is($ws->handshake()->status(), 101, "$what: served when it is ready");
    $ws->close();
}

# a stopped one refuses, also those that wait; so does one that is deleted

state(desired => 'paused');
my $http = http("GET /agents/one/ HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\n\r\n", start => 1);
is(waits(1), 1, 'waits while paused');
state(desired => 'stopped');
like(http_read($http), qr/ 503 .*it is stopped/s, 'refused when it is stopped');
like(http_get('/agents/one/'), qr/ 503 .*it is stopped/s, 'nobody waits for it');

state(desired => 'paused');
$http = http("GET /agents/one/ HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\n\r\n", start => 1);
is(waits(1), 1, 'waits again');
$t->state_file(revision => ++$revision);
like(http_read($http), qr/ 404 .*no service/s, 'refused when it is gone');

# without a queue nobody waits

state(queue_size => 0);
$first = $t->websocket('/agents/one/');
like(http_get('/agents/one/'), qr/ 503 .*"code":"service_full"/s, 'no queue');
$first->close();

# a limit for the whole service

state(max_sessions => 0, max_connections => 2, queue_size => 1);
my @two = map { $t->websocket('/agents/one/') } 1 .. 2;
my $third = wait_more('/agents/one/third', 1);
like(http_get('/agents/one/'), qr/ 503 .*it has max_connections/s,
    'all of the service');
$two[0]->close();
is($third->handshake()->status(), 101, 'a place of the service is free');

###############################################################################

sub state {
    my (%more) = @_;

    my $instance = delete $more{instance} // {};

    $t->state_file(revision => ++$revision,
        services => [ { name => 'one', max_sessions => 1, queue_size => 3,
            %more } ],
        instances => [ $agent->instance('one', %$instance) ]);

    $t->wait_for_revision($revision) or die "No revision $revision\n"
        if $revision > 1;
}

sub service { $t->status()->{services}[0] }

# The number that waits, when it is this one.

sub waits {
    my ($n) = @_;
    my $now;
    wait_for(sub { ($now = service()->{waiting}) == $n });
    return $now;
}

# A WebSocket that is sent and is seen to wait as the nth.

sub wait_more {
    my ($path, $n) = @_;
    my $ws = $t->websocket($path, start => 1);
    waits($n) == $n or die "$path does not wait\n";
    return $ws;
}
