#!/usr/bin/perl

# The echo agent, run directly: WebSocket frame by frame, HTTP, SSE, the
# contract of an agent (listen, health, SIGTERM), and garbage of every kind.

use warnings;
use strict;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::CorralAgent;
use Test::More;
use Time::HiRes qw(sleep time);

my @echo = ("$FindBin::Bin/../deploy/agents/echo/agent.py");
my $a = Test::CorralAgent->new(command => [@echo], listen => 'unix');
my $t = Test::CorralAgent->new(command => [@echo, '--listen', '{listen}'],
    listen => 'tcp');

###############################################################################

# HTTP

my ($status, $body, $head) = $a->http('GET', '/?x=1&y=a%20b',
    headers => "X-Forwarded-Prefix: /agents/demo\r\n");
is($status, 200, 'GET /');
my $saw = unjson($body);
is($saw->{service}, 'demo', 'service');
is($saw->{instance}, 'demo.1', 'instance');
is_deeply($saw->{query}, { x => '1', y => 'a b' }, 'query');
is_deeply([grep { $_->[0] eq 'X-Forwarded-Prefix' } @{$saw->{headers}}],
    [['X-Forwarded-Prefix', '/agents/demo']], 'headers it saw');

($status, $body) = $a->http('POST', '/echo', body => "\0\xff" x 70000);
is($status, 200, 'POST /echo');
ok($body eq "\0\xff" x 70000, 'body comes back verbatim');

($status, $body) = $a->raw("POST /echo HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    . "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n");
is($body, 'abcdefg', 'chunked body');

($status, $body, $head) = $t->raw("POST /echo HTTP/1.1\r\nHost: a\r\n"
    . "Content-Length: 2\r\n\r\nhiGET /healthz HTTP/1.1\r\nHost: a\r\n"
    . "Connection: close\r\n\r\n");
is($status, 200, 'pipelined, first');
like($body, qr/^hiHTTP.* 200 .*"status": "ok"/s, 'pipelined, second');

($status, $body, $head) = $a->http('HEAD', '/');
is($status, 200, 'HEAD');
is($body, '', 'HEAD has no body');

($status, $body) = $a->http('GET', '/healthz');
is($status, 200, 'healthz');
is(unjson($body)->{status}, 'ok', 'healthz says ok');

my $began = time();
($status) = $a->http('POST', '/echo?delay=300', body => 'x');
cmp_ok(time() - $began, '>=', 0.3, 'delay of HTTP');

# SSE

($status, $body, $head) = $a->http('GET', '/events?n=3&interval=1',
    headers => "Accept: text/event-stream\r\n");
like($head, qr{^Content-Type: text/event-stream}m, 'event stream');
my @e = Test::CorralAgent::sse($body);
is_deeply([map { $_->{id} // '-' } @e], [1, 2, 3, '-'], 'ids of the events');
is(unjson($e[2]{data})->{count}, 3, 'last count');

($status, $body) = $a->http('GET', '/events?n=3&interval=1',
    headers => "Last-Event-ID: 2\r\n");
is((Test::CorralAgent::sse($body))[0]{id}, 3, 'goes on after Last-Event-ID');

($status, $body, $head) = $a->raw("GET /events?n=1 HTTP/1.0\r\n\r\n");
unlike($head, qr/chunked/, 'no chunks for HTTP/1.0');
is(scalar(Test::CorralAgent::sse($body)), 2, 'events for HTTP/1.0');

# WebSocket

my $ws = $a->ws(path => '/any/path?q=1',
    headers => "Sec-WebSocket-Protocol: other, echo\r\n");
is($ws->{status}, 101, 'handshake');
like($ws->{head}, qr/^Sec-WebSocket-Protocol: echo\r$/m, 'subprotocol echo');

$ws->send(1, 1, "h\xc3\xa9llo");
is_deeply($ws->recv(), { fin => 1, rsv => 0, opcode => 1,
    data => "h\xc3\xa9llo" }, 'text');
$ws->send(1, 2, "\0\xff\xfe");
is_deeply($ws->recv(), { fin => 1, rsv => 0, opcode => 2,
    data => "\0\xff\xfe" }, 'binary');
$ws->send(1, 1, '');
is($ws->recv()->{data}, '', 'empty message');

$ws->send(0, 1, "one\xc3");             # a character cut by the fragment
$ws->send(0, 0, '');
is_deeply([map { my $f = $ws->recv(); [@$f{qw(fin opcode data)}] } 1, 2],
    [[0, 1, "one\xc3"], [0, 0, '']], 'fragments stay fragments');
$ws->send(1, 9, 'amid');
is_deeply($ws->recv(), { fin => 1, rsv => 0, opcode => 10, data => 'amid' },
    'a ping between fragments is answered');
$ws->send(1, 0, "\xa9");
is_deeply($ws->recv(), { fin => 1, rsv => 0, opcode => 0, data => "\xa9" },
    'the last fragment');

for my $size (125, 126, 65535, 65536, 3_000_000) {
    my $data = pack('C*', map { $_ % 251 } 1 .. 1000) x (1 + $size / 1000);
    $data = substr $data, 0, $size;
    $ws->send(1, 2, $data);
    my $f = $ws->recv(20);
    ok($f && $f->{data} eq $data, "$size bytes");
}

my $slow = $t->ws(slice => 1);
$slow->send(1, 1, 'a' x 300);
is($slow->message(), 'a' x 300, 'one byte a segment');

$ws->send(1, 8, pack('n', 1000) . 'bye');
is($ws->close_code(), 1000, 'close is answered with its code');
ok($ws->at_end(), 'and the connection ends');

$began = time();
$ws = $a->ws(path => '/?delay=200');
$ws->text('late');
is($ws->message(), 'late', 'delayed message');
cmp_ok(time() - $began, '>=', 0.2, 'delay of WebSocket');

# frames sent together with the handshake are not lost

my $early = Test::CorralAgent::WebSocket->build(1, 1, 'early');
$ws = $t->ws(after => $early);
is($ws->message(), 'early', 'frame in the segment of the handshake');

# permessage-deflate, as every browser offers it

$ws = $a->ws(headers =>
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
like($ws->{head}, qr/^Sec-WebSocket-Extensions: permessage-deflate/m,
    'compression is accepted');
my $hello = "\xf2\x48\xcd\xc9\xc9\x07\x00";         # RFC 7692, 7.2.3.1
$ws->send(1, 1, $hello, rsv => 4);
my $f = $ws->recv();
is($f->{rsv}, 4, 'the answer is compressed');
is($f->{data}, $hello, 'the answer is "Hello"');

###############################################################################

# what breaks the rules is refused, and the agent lives on

my @bad = (
    ['unmasked',         1002, [1, 1, 'x', mask => 0]],
    ['reserved bit',     1002, [1, 1, 'x', rsv => 2]],
    ['unknown opcode',   1002, [1, 3, 'x']],
    ['long ping',        1002, [1, 9, 'x' x 126]],
    ['cut ping',         1002, [0, 9, 'x']],
    ['lone continuation', 1002, [1, 0, 'x']],
    ['text is no UTF-8', 1007, [1, 1, "\xff\xfe"]],
    ['text ends in a character', 1007, [1, 1, "a\xc3"]],
    ['close code 1005',  1002, [1, 8, pack 'n', 1005]],
    ['close of one byte', 1002, [1, 8, 'x']],
);
for my $case (@bad) {
    my ($name, $code, $frame) = @$case;
    $ws = $a->ws();
    $ws->send(@$frame);
    is($ws->close_code(5), $code, "$name: $code");
}

srand(7);
$ws = $a->ws();
$ws->send_raw(pack 'C*', map { int rand 256 } 1 .. 4000);
ok($ws->at_end(15), 'random bytes end the connection');

for my $case (
    ['no version', 400, "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n"],
    ['no key',     400, "Sec-WebSocket-Version: 13\r\n"],
    ['short key',  400, "Sec-WebSocket-Key: eA==\r\n"
                        . "Sec-WebSocket-Version: 13\r\n"])
{
    ($status) = $a->raw("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        . "Connection: Upgrade\r\n$case->[2]\r\n");
    is($status, $case->[1], "handshake with $case->[0]");
}

my %requests = (
    'no request line'     => [400, "\1\2\3\r\n\r\n"],
    'HTTP/2 preface'      => [400, "PRI * HTTP/2.0\r\n\r\n"],
    'folded header'       => [400, "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"],
    'NUL in a header'     => [400, "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"],
    'space before colon'  => [400, "GET / HTTP/1.1\r\nA : b\r\n\r\n"],
    'two lengths'         => [400, "POST /echo HTTP/1.1\r\nContent-Length: 1"
                              . "\r\nContent-Length: 2\r\n\r\nab"],
    'length and chunks'   => [400, "POST /echo HTTP/1.1\r\nContent-Length: 1"
                              . "\r\nTransfer-Encoding: chunked\r\n\r\n"],
    'negative length'     => [400, "POST /echo HTTP/1.1\r\n"
                              . "Content-Length: -1\r\n\r\n"],
    'unknown coding'      => [501, "POST /echo HTTP/1.1\r\n"
                              . "Transfer-Encoding: gzip\r\n\r\n"],
    'broken chunk'        => [400, "POST /echo HTTP/1.1\r\n"
                              . "Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
    'long head'           => [431, "GET / HTTP/1.1\r\nA: " . 'x' x 70000
                              . "\r\n\r\n"],
    'huge body announced' => [413, "POST /echo HTTP/1.1\r\n"
                              . "Content-Length: 99999999999\r\n\r\n"],
    'broken target'       => [400, "GET http://[::1 HTTP/1.1\r\n\r\n"],
    'bad delay'           => [400, "GET /?delay=soon HTTP/1.1\r\n"
                              . "Connection: close\r\n\r\n"],
    'unknown path'        => [404, "GET /nothing HTTP/1.1\r\n"
                              . "Connection: close\r\n\r\n"],
    'wrong method'        => [405, "DELETE /echo HTTP/1.1\r\n"
                              . "Connection: close\r\n\r\n"],
    'POST with Upgrade'   => [400, "POST / HTTP/1.1\r\nUpgrade: websocket"
                              . "\r\nContent-Length: 0\r\n\r\n"],
);
for my $name (sort keys %requests) {
    my ($want, $bytes) = @{$requests{$name}};
    ($status, $body) = $t->raw($bytes);
    is($status, $want, "$name: $want");
    like($body, qr/"detail": "./, "$name: with a sentence")
        unless $bytes =~ /websocket/ && $want == 426;
}

# a refusal reaches a client that is still sending its body

($status) = $t->raw("POST /echo HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n"
    . 'x' x 2_000_000);
is($status, 413, 'refusal of a body under way is not lost');

is(($t->http('GET', '/healthz'))[0], 200, 'healthy after all that');

###############################################################################

# SIGTERM: what runs is finished, what is idle is told, nobody new comes in

$_->shut() for $slow, $ws;
my $idle = $t->ws();
my $busy = $t->ws(path => '/?delay=700');
$busy->text('running');
my $kept = $t->connect();
my $post = $t->connect();
syswrite $post, "POST /echo?delay=700 HTTP/1.1\r\nHost: a\r\n"
    . "Content-Length: 4\r\n\r\nlast";
sleep(0.2);

$t->signal('TERM');
is($idle->close_code(), 1012, 'idle WebSocket: 1012 at once');
ok(!$t->connect(), 'no new connection');
is(sysread($kept, my $nothing, 1), 0, 'idle HTTP connection: ended');
is($busy->message(), 'running', 'running message: answered');
is($busy->close_code(), 1012, 'then 1012');
my $answer = '';
1 while sysread $post, $answer, 4096, length $answer;
like($answer, qr/Connection: close.*\r\n\r\nlast$/s, 'running request: answered');
$idle->shut();
$busy->shut();
close $_ for $kept, $post;
is($t->wait_exit(), 0, 'exit status 0');

# a client that never reads cannot hold the agent beyond its grace

my $g = Test::CorralAgent->new(command => [@echo, '--grace', '1'],
    listen => 'unix');
my $deaf = $g->ws(path => '/?delay=600000');
$deaf->text('never');
sleep(0.1);
$began = time();
$g->signal('TERM');
is($g->wait_exit(), 0, 'exit status 0 after the grace');
cmp_ok(time() - $began, '<', 9, 'in time');

# a socket left by a killed agent is taken over, a living one is not

$g = Test::CorralAgent->new(command => [@echo], listen => 'unix');
my $second = Test::CorralAgent->new(command => [@echo, '--listen',
    $g->{address}], listen => 'unix', ready => 0);
is($second->wait_exit(), 1, 'second agent on the same socket: exit status 1');
like($second->read_file('stderr'), qr/cannot listen on unix:.*another process/,
    'with a sentence');
is((stat $g->{path})[2] & 0777, 0660, 'socket mode 0660');
$g->signal('KILL');
$g->wait_exit();
ok(-e $g->{path}, 'a killed agent leaves its socket');
$g->spawn();
ok($g->wait_ready(), 'the next one takes it over');
$g->stop_ok('next one');

for my $bad (['--listen', 'nowhere'], ['--listen', '127.0.0.1:99999'],
    ['--listen', 'unix:' . '/x' x 60], ['--max-body', '-1'], ['--nonsense'])
{
    my $x = Test::CorralAgent->new(command => [@echo, @$bad], ready => 0);
    isnt($x->wait_exit() // 0, 0, "refused: @$bad");
    like($x->read_file('stderr'), qr/\Q$bad->[0]\E/, 'the option is named');
}

like($a->read_file('stdout'), qr/^\{.*"message": "listening"/m,
    'log lines are JSON');
$ws = $a->ws();
$ws->send(1, 2, 'x' x 100);
$ws->message();
$ws->shut();                            # gone without a word
$a->stop_ok('echo');

done_testing();
