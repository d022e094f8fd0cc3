#!/usr/bin/perl

# The echo agent in Node, with ws from npm: the same behaviour as echo, message
# by message.  ws is installed by "npm ci" where it is missing.

use warnings;
use strict;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::CorralAgent;
use Test::More;
use Time::HiRes qw(sleep);

my $dir = "$FindBin::Bin/../deploy/agents/node-echo";

node_modules() or plan(skip_all => 'node or ws is not installed');

my @command = ('node', "$dir/server.js");
my $a = Test::CorralAgent->new(command => [@command], listen => 'unix');
my $t = Test::CorralAgent->new(command => [@command, '--listen', '{listen}'],
    listen => 'tcp');

###############################################################################

my ($status, $body, $head) = $a->http('GET', '/?x=1',
    headers => "X-Forwarded-Prefix: /agents/demo\r\n");
is($status, 200, 'GET /');
my $saw = unjson($body);
is($saw->{instance}, 'demo.1', 'instance');
is($saw->{query}{x}, 1, 'query');
ok((grep { $_->[0] eq 'X-Forwarded-Prefix' } @{$saw->{headers}}), 'headers');

($status, $body) = $a->http('POST', '/echo', body => "\0\xff" x 70000);
ok($body eq "\0\xff" x 70000, 'body comes back verbatim');
is(($a->http('GET', '/healthz'))[0], 200, 'healthz');
is(($a->http('GET', '/x'))[0], 404, 'unknown path');
is(($a->http('DELETE', '/echo'))[0], 405, 'wrong method');
is(($a->http('GET', '/events?n=x'))[0], 400, 'bad count');
is(($a->raw("\1\2\r\n\r\n"))[0], 400, 'nonsense');

(undef, $body) = $a->http('GET', '/events?n=3&interval=1',
    headers => "Last-Event-ID: 1\r\n");
my @e = Test::CorralAgent::sse($body);
is_deeply([map { $_->{id} // '-' } @e], [2, 3, '-'],
    'events after Last-Event-ID');

my $ws = $a->ws(path => '/any', headers =>
    "Sec-WebSocket-Protocol: x, echo\r\n");
is($ws->{status}, 101, 'handshake');
like($ws->{head}, qr/^Sec-WebSocket-Protocol: echo\r$/m, 'subprotocol');
for my $n (0, 125, 126, 65536, 3_000_000) {
    my $data = substr "\0\xffab" x (1 + $n / 4), 0, $n;
    $ws->send(1, 2, $data);
    my $f = $ws->recv(20);
    ok($f && $f->{data} eq $data && $f->{opcode} == 2, "$n bytes");
}
$ws->send(0, 1, 'a');
$ws->send(1, 9, 'ping');
$ws->send(1, 0, 'b');
is($ws->recv()->{data}, 'ping', 'pong between fragments');
is($ws->message(), 'ab', 'fragments make a message');

my $slow = $t->ws(slice => 1);
$slow->text('x' x 300);
is($slow->message(), 'x' x 300, 'one byte a segment');

my $bad = $a->ws();
$bad->send(1, 1, "\xff");
is($bad->close_code(), 1007, 'broken text: 1007');
$bad = $a->ws();
$bad->send(1, 1, 'x', mask => 0);
is($bad->close_code(), 1002, 'unmasked: 1002');
$bad->shut();

# SIGTERM

my $second = Test::CorralAgent->new(command => [@command, '--listen',
    $a->{address}], ready => 0);
is($second->wait_exit(), 1, 'second agent on the same socket');
like($second->read_file('stderr'), qr/another process listens/, 'with a word');
is((stat $a->{path})[2] & 0777, 0660, 'socket mode 0660');

$a->signal('TERM');
is($ws->close_code(), 1012, 'SIGTERM: 1012');
$ws->shut();
is($a->wait_exit(), 0, 'exit status 0');
ok(!-e $a->{path}, 'socket removed');
$slow->shut();
$t->signal('KILL');
$t->wait_exit();

$a = Test::CorralAgent->new(command => [@command], listen => 'unix');
$a->signal('KILL');
$a->wait_exit();
$a->spawn();
ok($a->wait_ready(), 'a socket left behind is taken over');
$a->stop_ok('node-echo');

for my $bad (['--listen', 'x'], ['--grace', '-1'], ['--nonsense', '1']) {
    my $x = Test::CorralAgent->new(command => [@command, @$bad], ready => 0);
    isnt($x->wait_exit() // 0, 0, "refused: @$bad");
    like($x->read_file('stderr'), qr/\Q$bad->[0]\E/, 'named');
}

done_testing();
