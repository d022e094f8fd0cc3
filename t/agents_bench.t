#!/usr/bin/perl

# bench-agent, compiled with sanitizers: echo of every kind of frame however it
# is cut, what breaks the rules, and the faults it can play.

use warnings;
use strict;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use JSON::PP;
use Test::CorralAgent;
use Test::More;
use Time::HiRes qw(sleep time);

my $dir = tempdir(CLEANUP => 1);
my $bench = "$dir/bench-agent";
my @sources = glob "$FindBin::Bin/../deploy/agents/bench/bench[-_]*.c";

my $flags = '-std=gnu11 -g -O1 -Wall -Wextra -Werror -pthread'
    . ' -fsanitize=address,undefined -fno-sanitize-recover=undefined';
system($ENV{CC} || 'cc', split(' ', $flags), '-o', $bench, @sources) == 0
    or BAIL_OUT('bench-agent does not compile');

my $a = Test::CorralAgent->new(command => [$bench], listen => 'unix');
my $t = Test::CorralAgent->new(command => [$bench, '--threads', 2],
    listen => 'tcp');

###############################################################################

# HTTP

my ($s, $body, $head) = $a->http('GET', '/healthz');
is("$s $body", "200 ok\n", 'healthz');
is(($a->http('GET', '/x'))[0], 404, 'unknown path');
($s, $body, $head) = $a->http('GET', '/json');
is($s, 200, 'json');
is(length($body), 1024, 'json: 1 kB');
is(decode_json($body)->{jsonrpc}, '2.0', 'json: an answer of JSON-RPC');
is(($a->http('POST', '/', body => 'x'))[0], 400, 'POST');
(undef, $body) = $a->raw(("GET / HTTP/1.1\r\n\r\n" x 1999)
    . "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
is(scalar(my @ok = $body =~ /^ok$/mg), 2000, '2,000 pipelined requests');
is(($a->raw("GET / HTTP/1.1\r\nA: " . 'x' x 20000))[0], 431, 'long head');
is(($a->raw("nonsense\r\n\r\n"))[0], 400, 'nonsense');
is(($a->raw("\0\1\2\r\n\r\n"))[0], 400, 'binary nonsense');

my $up = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
my $key = "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n";
my $v = "Sec-WebSocket-Version: 13\r\n";
is(($a->raw("$up$v\r\n"))[0], 400, 'handshake without a key');
is(($a->raw("${up}Sec-WebSocket-Key: x3JJHMbD=EzLkh9GBhXDw==\r\n$v\r\n"))[0],
    400, 'handshake with a broken key');
is(($a->raw("$up$key\r\n"))[0], 426, 'handshake without a version');
is(($a->raw("GET / HTTP/1.1\r\nUpgrade: websocket\r\n$key$v\r\n"))[0], 400,
    'handshake without Connection');

# a stream: events of 128 bytes with one mark, until the client goes

my $events = $t->connect();
syswrite $events, "GET /sse HTTP/1.1\r\n\r\n";
my $stream_head = take($events, qr/\r\n\r\n\z/, 1);
like($stream_head, qr!^HTTP/1.1 200 .*^Content-Type: text/event-stream\r$!ms,
    'stream');
my $got = take($events, qr/\A.{384}\z/s, 128);
is(scalar(() = $got =~ /data: !x{119}\n\n/g), 3, 'stream: three events');
is($got =~ tr/!//, 3, 'stream: one mark in each');

# echo; the 8 places of a mask and the loop over words meet at every length

my $ws = $a->ws(path => '/any?x=y');
is($ws->{status}, 101, 'handshake, with the right Accept');
my $good = 0;
for my $n (0 .. 140) {
    my $data = join '', map { chr($_ * 7 & 255) } 1 .. $n;
    $ws->send(1, 2, $data);
    my $f = $ws->recv() or last;
    $good++ if $f->{data} eq $data && $f->{opcode} == 2 && $f->{fin};
}
is($good, 141, 'lengths 0 to 140');

for my $n (65535, 65536, 131072, 10_000_019) {
    my $data = pack('N*', 1 .. 1 + $n / 4);
    $data = substr $data, 0, $n;
    $ws->send(1, 1, $data);
    my $f = $ws->recv(30);
    ok($f && $f->{data} eq $data, "$n bytes");
}

# any cut of the stream gives the same bytes

my $stream = '';
my @want;
srand(11);
for my $i (1 .. 60) {
    my $data = join '', map { chr int rand 256 } 1 .. int rand($i % 9 ? 200
        : 1000);
    my $kind = $i % 6;
    if ($kind == 0) {
        $stream .= $ws->build(1, 9, substr $data, 0, 125);
        push @want, [1, 10, substr $data, 0, 125];
    } elsif ($kind == 1) {
        $stream .= $ws->build(0, 2, $data) . $ws->build(1, 9, "p$i")
            . $ws->build(0, 0, '') . $ws->build(1, 10, 'unasked')
            . $ws->build(1, 0, "end$i");
        push @want, [0, 2, $data], [1, 10, "p$i"], [0, 0, ''],
            [1, 0, "end$i"];
    } else {
        $stream .= $ws->build(1, 1, $data);
        push @want, [1, 1, $data];
    }
}
for my $slice (1, 2, 3, 7, 64, 1000, 1 << 20) {
    my $w = ($slice % 2 ? $a : $t)->ws(slice => $slice);
    $w->send_raw($stream);
    my @got = map { my $f = $w->recv(5); $f ? [@$f{qw(fin opcode data)}] : () }
        @want;
    is_deeply(\@got, \@want, "cut every $slice bytes");
    $w->shut();
}

# frames behind the handshake in one segment

my $early = $ws->build(1, 1, 'early') . $ws->build(1, 1, 'bird');
my $w = $t->ws(after => $early);
is($w->message(), 'early', 'frame in the segment of the handshake');
is($w->message(), 'bird', 'and a second one');
$w->shut();

# a peer that does not read stops being read, then gets all

$w = $a->ws();
$w->{deaf} = 1;
my $one = $w->build(1, 2, 'x' x 60000);
my $count = 0;
my $out = $w->{socket};
my $rest = '';
while ($count < 1000) {
    $rest = $one if $rest eq '';
    my $n = syswrite $out, $rest;
    last if !defined $n && !IO::Select->new($out)->can_write(0.5);
    substr($rest, 0, $n // 0) = '';
    $count++ if $rest eq '';
}
cmp_ok($count, '<', 100, "it stopped reading after $count messages");
$w->{deaf} = 0;
$w->send_raw($rest), $count++ if $rest ne '';
$good = 0;
for (1 .. $count) { my $f = $w->recv() or last;
    $good++ if $f->{data} eq 'x' x 60000; }
is($good, $count, 'all came back when the peer read');
$w->shut();

# closes

for my $case ([1000, pack('n', 1000) . 'bye'], [3999, pack('n', 3999)],
    [1005, ''], [1002, 'x'], [1002, pack 'n', 1005], [1002, pack 'n', 999],
    [1002, pack 'n', 5000])
{
    $w = $a->ws();
    $w->send(1, 8, $case->[1]);
    is($w->close_code(), $case->[0], "close is answered with $case->[0]");
    ok($w->at_end(), 'and the connection ends');
}

for my $case (['unmasked', [1, 1, 'x', mask => 0]],
    ['reserved bit', [1, 1, 'x', rsv => 4]], ['opcode 3', [1, 3, 'x']],
    ['opcode 11', [1, 11, '']], ['cut ping', [0, 9, '']],
    ['long ping', [1, 9, 'x' x 126]], ['lone continuation', [1, 0, 'x']],
    ['16 bits for 5', [1, 1, 'hello', form => 16]],
    ['64 bits for 5', [1, 1, 'hello', form => 64]])
{
    $w = $a->ws();
    $w->send(1, 1, 'before');
    $w->send(@{$case->[1]});
    is($w->message(), 'before', "$case->[0]: the frame before is echoed");
    is($w->close_code(), 1002, "$case->[0]: 1002");
    $w->shut();
}
$w = $a->ws();
$w->send_raw($w->build(0, 1, 'a') . $w->build(1, 1, 'b'));
$w->recv();
is($w->close_code(), 1002, 'text within a message: 1002');
$w = $a->ws();
$w->send_raw("\x82\xff\x80\0\0\0\0\0\0\0abcd");
is($w->close_code(), 1002, 'length with the highest bit: 1002');
for (1 .. 40) {
    $w = $a->ws();
    $w->send_raw(pack 'C*', map { int rand 256 } 1 .. 300);
    $w->shut();
}
is(($a->http('GET', '/healthz'))[0], 200, 'alive after garbage');

# SIGTERM: 1012 to the idle, a message under way is finished

my $idle = $t->ws();
my $busy = $t->ws();
$busy->send(0, 1, 'one ');
$busy->recv();
$t->signal('TERM');
is($idle->close_code(), 1012, 'idle: 1012');
my $asked = time();
1 while sysread $events, $got, 65536;
cmp_ok(time() - $asked, '<', 5, 'stream: ended at once');
ok(!$t->connect(), 'no new connection');
$busy->send(1, 0, 'two');
is($busy->message(), 'two', 'message under way is finished');
is($busy->close_code(), 1012, 'then 1012');
$_->shut() for $idle, $busy, $ws;
$t->stop_ok('threads');
$a->stop_ok('bench-agent');

###############################################################################

# faults

my $x = Test::CorralAgent->new(command => [$bench, '--reject-percent', 30],
    listen => 'unix');
my @status = map { my $w = $x->ws(); my $s = $w->{status}; $w->shut(); $s }
    1 .. 100;
is((grep { $_ == 503 } @status), 30, '30 of 100 handshakes rejected');
is((grep { $_ == 101 } @status), 70, 'the others not');
is(($x->http('GET', '/healthz'))[0], 200, 'health is not');
$x->stop_ok('reject-percent');

for my $case ([5_000_000, 65536, 77], [5_000_000, 5_000_000, 1],
    [300, 125, 3], [0, 65536, 0])
{
    my ($bytes, $size, $messages) = @$case;
    $x = Test::CorralAgent->new(command => [$bench, '--send-and-close', $bytes,
        '--message-size', $size], listen => 'tcp');
    $w = $x->ws();
    my ($all, $n) = ('', 0);
    while (defined(my $m = $w->message())) { $all .= $m; $n++; }
    is(length $all, $bytes, "$bytes bytes in messages of $size");
    is($n, $messages, "$n messages");
    my $pattern = join '', map { chr } 0 .. 250;
    ok($all eq substr($pattern x (1 + $bytes / 251), 0, $bytes), 'the pattern');
    is($w->close_code(), 1000, 'then Close 1000');
    ok($w->at_end(), 'then the end');
    $w->shut();
    $x->stop_ok('send-and-close');
}
$x = Test::CorralAgent->new(command => [$bench, '--send-and-close', 1000,
    '--no-close-frame'], listen => 'unix');
$w = $x->ws();
is(length $w->message(), 1000, '--no-close-frame: the message');
is($w->close_code(), 1006, 'and no Close');
$w->shut();
$x->stop_ok('no-close-frame');

$x = Test::CorralAgent->new(command => [$bench, '--die-after', 2],
    listen => 'unix');
$w = $x->ws();
$w->send_raw($w->build(1, 1, 'a') . $w->build(0, 1, 'b') . $w->build(1, 0, 'c')
    . $w->build(1, 1, 'd'));
is($w->message(), 'a', '--die-after 2: first message');
is($w->message(), 'bc', 'second message');
ok(!defined $w->message(), 'no third');
is($w->close_code(), 1006, 'no Close');
is($x->wait_exit(), 128 + 9, 'killed by SIGKILL');

$x = Test::CorralAgent->new(command => [$bench, '--slow-read', 20000],
    listen => 'unix');
$w = $x->ws();
my $began = time();
$w->text('x' x 10000);
is(length $w->message(), 10000, '--slow-read: the message comes');
my $took = time() - $began;
cmp_ok($took, '>', 0.25, 'slowly');
cmp_ok($took, '<', 3, 'but at the rate');
$w->shut();
$x->stop_ok('slow-read');

# JSON-RPC: answers later, in parts, in any order

$x = Test::CorralAgent->new(command => [$bench, '--rpc'], listen => 'unix');
$w = $x->ws();
$w->send(1, 1, '{"id":"a","method":"work","params":{"ms":300}}');
$w->send(1, 1, '{"method":"work","params":{"ms":1}}');
$w->send(0, 1, '{"id":1,"method":"ec');
$w->send(1, 0, 'ho","params":[1,{"id":9}]}');
is($w->recv(5)->{data}, '{"jsonrpc":"2.0","id":1,"result":[1,{"id":9}]}',
    'rpc: an answer overtakes one that takes longer');
like($w->recv(5)->{data}, qr/"id":"a","result":\{"final":true,"agent":"/,
    'rpc: which comes later, and none to what has no id');
$w->send(1, 1, '{"params":{"parts":2,"ms":30},"method":"work","id":2}');
is(join(' ', map { $w->recv(5)->{data} =~ /"part":(\d)|"final":(true)/; $1 // $2 }
    1 .. 3), '1 2 true', 'rpc: in parts');
$w->send(1, 1, '{"id":3,"method":"none"}');
like($w->recv(5)->{data}, qr/"id":3,"error":\{"code":-32601/, 'rpc: no method');
$w->send(1, 1, 'x"}{["');
$w->send(1, 9, 'ping');
is($w->recv(5)->{opcode}, 10, 'rpc: what is no JSON is not answered');
$w->send(1, 1, '{"id":4,"method":"work","params":{"ms":60000}}');
$w->shut();
$x->stop_ok('rpc, with an answer that nobody waits for');

for my $bad (['--reject-percent', 101], ['--die-after', '-1'],
    ['--threads', 'x'], ['--listen', 'nowhere'], ['--listen', '1.2.3.4:99999'],
    ['--listen', 'unix:' . '/x' x 60])
{
    $x = Test::CorralAgent->new(command => [$bench, @$bad], ready => 0);
    isnt($x->wait_exit() // 0, 0, "refused: @$bad");
    like($x->read_file('stderr'), qr/\Q$bad->[0] "$bad->[1]"\E: /,
        'named, with its value');
}

done_testing();


# What comes on a connection, so many bytes at a time, until it fits.

sub take {
    my ($s, $wanted, $step) = @_;

    my $bytes = '';
    my $select = IO::Select->new($s);
    while ($bytes !~ $wanted && $select->can_read(15)) {
        sysread($s, $bytes, $step - length($bytes) % $step, length $bytes)
            or last;
    }
    return $bytes;
}
