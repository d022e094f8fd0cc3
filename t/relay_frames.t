#!/usr/bin/perl

# Tests for the relay of frames: what one side sends the other one gets, byte for
# byte, however it is cut, and what breaks the protocol ends the connection.

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

my $agent = $t->agent(id => 'echo.1', port => 8081,
    greeting => build_frame(TEXT, 'welcome'));

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

use Digest::SHA qw/sha1_hex/;

# sizes around the forms of a length, and around the relay's buffer

my @sizes = (0, 1, 125, 126, 127, 65534, 65535, 65536, 65537, 131_072,
    1_000_000);

# frames that end a connection with 1002

my @bad = (
    [ 'not masked', sub { $_[0]->frame(TEXT, 'x', mask => undef) } ],
    [ 'rsv1 without an extension', sub { $_[0]->frame(TEXT, 'x', rsv => 4) } ],
    [ 'rsv2', sub { $_[0]->frame(TEXT, 'x', rsv => 2) } ],
    [ 'opcode 3', sub { $_[0]->frame(3, 'x') } ],
    [ 'opcode 11', sub { $_[0]->frame(11, 'x') } ],
    [ 'continuation of nothing', sub { $_[0]->frame(CONT, 'x') } ],
    [ 'text inside a message', sub { $_[0]->frame(TEXT, 'x', fin => 0)
        . $_[0]->frame(TEXT, 'y') } ],
    [ 'fragmented ping', sub { $_[0]->frame(PING, 'x', fin => 0) } ],
    [ 'long ping', sub { $_[0]->frame(PING, 'x' x 126) } ],
    [ 'close with one byte', sub { $_[0]->frame(CLOSE, 'x') } ],
    [ 'close code 1005', sub { $_[0]->frame(CLOSE, pack 'n', 1005) } ],
    [ 'close code 999', sub { $_[0]->frame(CLOSE, pack 'n', 999) } ],
    [ 'length not the shortest', sub { $_[0]->frame(TEXT, 'x', form => 16) } ],
    [ 'negative length', sub { pack 'C C Q> N', 0x82, 0xff, 1 << 63, 1 } ],
);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(17 + 2 * @sizes + 2 * @bad);

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
            corral_max_message_size  0;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# the agent's first frame comes in one packet with its 101, the client's first
# one with its handshake

my $ws = $t->websocket('/agents/echo/',
    after => build_frame(TEXT, 'early', mask => 'key1'));

ok($ws->accepted(), 'handshake');
is($ws->read_message(), 'welcome', 'frame sent with the 101');
is($ws->read_message(), 'early', 'frame sent with the handshake');
is(last_frame()->{mask}, unpack('H*', 'key1'), 'its mask');

# sizes: the bytes that reach the agent are those of the client, mask included

for my $size (@sizes) {
    my $frame = $ws->frame(BINARY, 'x' x $size);
    $ws->send_raw($frame);

    is(length($ws->read_message() // 'none'), $size, "size $size");
    is(last_frame()->{sha1}, sha1_hex($frame), "size $size, same bytes");
}

# a mask of zeros, and one byte at a time

$ws->send_frame(TEXT, 'plain', mask => "\0\0\0\0");
is($ws->read_message(), 'plain', 'mask of zeros');

$ws->send_slow($ws->frame(TEXT, 'slow' x 40));
is($ws->read_message(), 'slow' x 40, 'byte by byte');

# fragments stay fragments, control frames between them keep their place

my $from = $agent->frames();

$ws->send_raw(join '', $ws->frame(TEXT, 'one ', fin => 0),
    $ws->frame(PING, 'between'), $ws->frame(CONT, '', fin => 0),
    $ws->frame(CONT, 'two', fin => 1));

is($ws->read_message(), 'one two', 'fragments');
is(join(',', $ws->pongs()), 'between', 'ping between them');

my @frames = $agent->frames();
is(join(' ', map { "$_->{opcode}:$_->{fin}:$_->{payload}" }
    @frames[$from .. $#frames]), '1:0:one  9:1:between 0:0: 0:1:two',
    'in the same order');

# likewise from the agent, cut in the middle of a header

my $raw = build_frame(TEXT, 'a', fin => 0) . build_frame(PING, 'p')
    . build_frame(CONT, 'b' x 200, fin => 1);

$ws->auto(0);
$agent->push_raw($raw);

my $got = join '', map { ($ws->read_frame() // { raw => '' })->{raw} } 1 .. 3;
is(unpack('H*', $got), unpack('H*', $raw), 'fragments of the agent');

for (map { substr $raw, $_, 1 } 0 .. 20) {
    $agent->push_raw($_);
}
$agent->push_raw(substr $raw, 21);

$got = join '', map { ($ws->read_frame() // { raw => '' })->{raw} } 1 .. 3;
is(unpack('H*', $got), unpack('H*', $raw), 'bytes of the agent');
$ws->auto(1);

# many at once

$ws->send_raw(join '', map { $ws->frame(TEXT, "m$_") } 1 .. 2000);
is(join(',', map { $ws->read_message() // 'none' } 1 .. 2000),
    join(',', map { "m$_" } 1 .. 2000), 'many frames in one write');

# what was relayed was counted

my $stats = $agent->stats();
ok(wait_for(sub {
    my $i = $t->instance('echo.1');
    $i->{messages_in} == $stats->{messages}
        && $i->{messages_out} == $stats->{messages} + 1 + 2;
}), 'messages counted both ways');

is($ws->close(), 1000, 'close');

# what breaks the protocol

for my $case (@bad) {
    my ($name, $code) = @$case;

    my $bad = $t->websocket('/agents/echo/');
    $bad->read_message();
    $bad->send_raw($code->($bad));

    is($bad->close_code(), 1002, "$name: 1002");
    ok($bad->ended(), "$name: disconnected");
}

# the agent may break it, too: it must not mask

$ws = $t->websocket('/agents/echo/');
$ws->read_message();
$agent->push_raw(build_frame(TEXT, 'x', mask => 'mask'));
is($ws->close_code(), 1011, 'masked frame of the agent: 1011 for the client');
ok(wait_for(sub { ($agent->stats()->{closes}[-1] // 0) == 1002 }),
    'and 1002 for the agent');
ok(wait_for(sub { $agent->stats()->{open} == 0 }), 'agent is disconnected');

###############################################################################

sub last_frame { ($agent->frames())[-1] // {} }

###############################################################################
