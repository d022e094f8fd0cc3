#!/usr/bin/perl

# Tests for re-attachment: a WebSocket whose instance is lost goes on with another
# one, and its client does not notice.

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

my $one = $t->agent(id => 'echo.1', port => 8081);
my $two = $t->agent(id => 'echo.2', port => 8082);
my $mute = $t->agent(id => 'mute', port => 8083);

$t->state_file(services => [ { name => 'echo', failover => 'reattach',
        hold_time => '2s', max_fails => 0, hold_size => 1024 },
        { name => 'slow', failover => 'reattach', max_fails => 0 },
        { name => 'metered', failover => 'reattach', max_fails => 0,
            message_rate => 20, message_burst => 5,
            message_rate_action => 'delay' },
        { name => 'hangs', failover => 'reattach', max_fails => 0,
            hold_time => '3s' },
        { name => 'plain' } ],
    instances => [ $one->instance('echo', weight => 1000),
        $two->instance('echo', weight => 1),
        { %{ $one->instance('slow', weight => 1000) }, id => 'slow.1' },
        { %{ $two->instance('slow') }, id => 'slow.2' },
        { %{ $one->instance('metered', weight => 1000) }, id => 'metered.1' },
        { %{ $two->instance('metered') }, id => 'metered.2' },
        { %{ $one->instance('hangs', weight => 1000) }, id => 'hangs.1' },
        { %{ $mute->instance('hangs', weight => 100) }, id => 'hangs.2' },
        { %{ $two->instance('hangs') }, id => 'hangs.3' },
        { id => 'plain.1', service => 'plain', address => $one->address() } ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(60);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  moves  '$corral_instance $corral_resumed $corral_close_code '
                       '$upstream_addr [$upstream_status] $request_uri';
    access_log  %%TESTDIR%%/moves.log  moves;
    access_log  %%TESTDIR%%/moved.log  moves if=$corral_resumed;

    limit_conn_zone  $server_port  zone=conns:1m;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from   path;
            corral_websocket      agents;
            corral_close_timeout  300ms;
        }

        location /agents/echo/kept {
            limit_conn            conns 100;
            corral_service_from   path;
            corral_websocket      agents;
            corral_close_timeout  300ms;
        }

        location = /status { corral_status; access_log off; }
    }
}

EOF

$t->run()->wait_for_revision(1);

my ($a1, $a2) = map { $_->address() } $one, $two;

###############################################################################

# one move: the same client, the same subprotocol, another agent

$_->set(headers => [ 'Sec-WebSocket-Protocol: b' ]) for $one, $two;

my $ws = on_one('/agents/echo/a', protocol => 'a, b');

my $head = $ws->ask('!head');
my ($session) = $head =~ /^Corral-Session: (\S+)\r$/m;
like($session, qr/^[0-9a-f]{32}$/, 'the agent is told a session');
unlike($head, qr/^Corral-Resume/m, 'which is new');
is_deeply(counts(), { 'echo.1' => 1 }, 'counted with the first instance');

$one->drop('reset');

is($ws->ask('!id'), 'echo.2', 'goes on with another instance');

$head = $ws->ask('!head');
like($head, qr/^Corral-Session: $session\r$/m, 'of the same session');
like($head, qr/^Corral-Resume: 1\r$/m, 'which is told so');
like($head, qr/^Sec-WebSocket-Protocol: a, b\r$/m, 'the request is the same');
like($head, qr{^GET /a HTTP/1.1\r$}m, 'its line, too');
is_deeply(counts(), { 'echo.2' => 1 }, 'counted with the second instance');

# and back again: by a FIN, then by the Close of an agent that leaves

$two->drop('eof');
is($ws->ask('!id'), 'echo.1', 'an end without a Close');
$ws->send_text('!close 1001 I leave');
$t->wait_for_counts({ 'echo.1' => 0, 'echo.2' => 1 });
is($ws->ask('!id'), 'echo.2', 'a Close 1001 of the agent is no end');
$ws->send_text('!close 1012 I restart');
$t->wait_for_counts({ 'echo.1' => 1, 'echo.2' => 0 });
is($ws->ask('!id'), 'echo.1', 'nor is 1012');
like($ws->ask('!head'), qr/^Corral-Resume: 4\r$/m, 'the fourth move');

is($ws->close(), 1000, 'closed by the client');
like($t->wait_for_log(qr{^.*/agents/echo/a$}m, 'moves.log'),
    qr{^echo\.1\ 4\ 1000\ \Q$a1, $a2, $a1, $a2, $a1\E
        \ \[101,\ 101,\ 101,\ 101,\ 101\]\ /agents/echo/a$}mx,
    'all instances are logged');

# other Closes are the agent's word to the client

$_->set(headers => []) for $one, $two;

$ws = on_one('/agents/echo/');
$ws->send_text('!close 4001 enough');
is($ws->close_code(), 4001, 'another Close passes');
is($ws->close_reason(), 'enough', 'with its reason');

# a service that does not ask for it

$ws = $t->websocket('/agents/plain/');
unlike($ws->ask('!head'), qr/^Corral-/m, 'agents of others are told nothing');
$one->drop('reset');
is($ws->close_code(), 1011, 'closed as ever');

# messages: in fragments, with control frames between, and too long to be held

$ws = on_one('/agents/echo/');
my $before = $one->stats();
$ws->send_frame(1, 'fi', fin => 0);
$ws->send_ping('between');
wait_for(sub { $one->stats()->{pings} > $before->{pings} }, 5);
is($one->stats()->{messages}, $before->{messages},
    'a ping overtakes a message that is held');
my $frames = data_frames($one);
$ws->send_frame(0, 'rst', fin => 1);
is($ws->read_message(), 'first', 'the message passes');
is(data_frames($one) - $frames, 1, 'as one frame');

$before = $one->stats();
$ws->send_frame(1, 'half of ', fin => 0);
$ws->send_ping('mark');
wait_for(sub { $one->stats()->{pings} > $before->{pings} }, 5);
$one->drop('reset');
$ws->send_frame(0, 'it', fin => 1);
is($ws->read_message(), 'half of it', 'what was begun is said to the next one');

is(length $ws->ask('x' x 5000), 5000, 'a long message streams');
$ws->send_frame(1, 'y' x 1000, fin => 0);
$ws->send_frame(0, 'z' x 1000, fin => 1);
is($ws->read_message(), 'y' x 1000 . 'z' x 1000, 'also one in fragments');
is($ws->close(), 1000, 'and its end is as ever');

# the agent dies within a message

$ws = on_one('/agents/echo/');
$ws->send_text('!raw 017e0800' . '41' x 2048);
is($ws->read_frame()->{fin}, 0, 'a frame of a long message passes');
$one->drop('eof');
is($ws->close_code(), 1012, 'the agent dies within such a message');
is($ws->close_reason(), 'agent lost within a message', 'the reason');

$ws = on_one('/agents/echo/');
$before = $one->stats();
$ws->send_text('!raw 0103414141');
wait_for(sub { $one->stats()->{out} - $before->{out} >= 5 }, 5);
$one->drop('eof');
is($ws->ask('!id'), 'echo.2', 'half a message that was held is forgotten');
is($ws->close(), 1000, 'closed');

# another instance that does not fit, and none at all

$one->set(headers => [ 'Sec-WebSocket-Protocol: b' ]);
$ws = on_one('/agents/echo/', protocol => 'a, b');
$two->set(headers => [ 'Sec-WebSocket-Protocol: a' ]);
$one->refuse();
$one->drop('reset');
is($ws->close_code(), 1012, 'no other instance agrees on the same');
is($ws->close_reason(), 'no other agent took over', 'it says so');
like($t->read_file('error.log'), qr/another subprotocol than the instance/,
    'and the log says why');
$_->set(headers => []) for $one, $two;
$one->listen();

# compression: the next agent cannot know what this one has seen

my @offer = (headers => [ 'Sec-WebSocket-Extensions: '
    . 'permessage-deflate; client_max_window_bits, permessage-deflate' ]);
my $agreed = 'Sec-WebSocket-Extensions: permessage-deflate';

$_->set(headers => [ $agreed ]) for $one, $two;
$ws = on_one('/agents/echo/', @offer);
like($ws->ask('!head'), qr/^Sec-WebSocket-Extensions:\ permessage-deflate;
    \ client_max_window_bits;\ client_no_context_takeover,
    \ permessage-deflate;\ client_no_context_takeover\r$/mx,
    'the offer says that the client begins each message anew');
is($ws->header('Sec-WebSocket-Extensions'),
    'permessage-deflate; client_no_context_takeover', 'the client is told to');
$one->drop('reset');
is($ws->ask('!id'), 'echo.2', 'an agent with the same parameters takes over');
$ws->send_frame(1, 'packed', rsv => 4);
is($ws->read_message(), 'packed', 'compressed messages pass');
my ($packed) = grep { ($_->{payload} // '') eq 'packed' } $two->frames();
is($packed->{rsv}, 4, 'as such');

$one->set(headers => [ "$agreed; server_no_context_takeover" ]);
$two->refuse();
$two->drop('reset');
is($ws->close_code(), 1012, 'one with others does not');
$_->set(headers => []) for $one, $two;
$two->listen();

# an instance that comes back in time

$ws = on_one('/agents/echo/');
$_->refuse() for $one, $two;
$one->drop('reset');
$ws->send_text('!id');
$t->wait_for_log(qr/connect\(\) .*failed.*connecting to upstream/);
$one->listen();
is($ws->read_message(), 'echo.1', 'the lost instance itself may come back');
is($ws->close(), 1000, 'closed');

# an agent that takes it and ends it at once

$ws = on_one('/agents/echo/');
$two->listen();
$two->set(leave => 1);
$before = $two->stats();
$one->refuse();
$one->drop('reset');
is($ws->close_code(), 1012, 'who lets go at once has not taken over');
my $tried = $two->stats()->{accepted} - $before->{accepted};
ok($tried > 2 && $tried < 12, "and is not asked for ever: $tried times");
$two->set(leave => 0);
$two->refuse();
$one->listen();

# a client that goes while there is no agent

$ws = on_one('/agents/echo/gone');
$one->refuse();
$one->drop('reset');
$ws->disconnect();
$t->wait_for_log(qr{^echo\.1 0 .*/gone$}m, 'moves.log', 10);
is_deeply(counts(), {}, 'a client that goes meanwhile leaves nothing');
$_->listen() for $one, $two;

# a request that another module holds

$ws = on_one('/agents/echo/kept');
$one->drop('reset');
is($ws->ask('!id'), 'echo.2', 'a kept request moves, too');
is($ws->close(), 1000, 'closed');
like($t->wait_for_log(qr{^echo.2 1.*/kept$}m, 'moves.log'),
    qr{^echo\.2 1 1000 \Q$a1, $a2\E \[101, 101\] /agents/echo/kept}m,
    'and is logged');

# the condition of a log

my $moved = join '', grep { /^\S+ [1-9]/ } $t->read_file('moves.log') =~ /.*\n/g;
is($t->read_file('moved.log'), $moved || 'some', 'a log of those that went on');

# not all at once: 64, and the others when these have landed

my @many = map { on_one('/agents/slow/') } 1 .. 80;
$two->set(delay => 3);
$before = $two->stats();
$one->drop('reset');
wait_for(sub { $two->stats()->{requests} - $before->{requests} >= 64 }, 5);
my $first = $two->stats();
is($first->{accepted} - $before->{accepted}, 64, '64 look for another instance');
is($first->{websockets} - $before->{websockets}, 0, 'none has landed yet');
$two->set(delay => 0);
is(join(' ', map { $_->ask('!id', 10) } @many), join(' ', ('echo.2') x 80),
    'all of them find it');
$_->close() for @many;

# with a rate: what a limit holds back goes to the next agent, in its order

$ws = on_one('/agents/metered/');
$ws->send_raw(join '', map { $ws->frame(1, "m$_") } 1 .. 15);
is($ws->read_message(), 'm1', 'the first of many');
$one->drop('reset');
my $last = 1;
my $read;

while ($last < 15 && defined($read = $ws->read_message(3))) {
    my ($n) = $read =~ /^m(\d+)$/;
    die "m$n after m$last" if $n <= $last;
    $last = $n;
}

is($last, 15, 'messages that a rate held back are said to the next one');
is($ws->ask('!id'), 'echo.2', 'who it is');
is($ws->close(), 1000, 'closed');

# one that takes the connection and says nothing leaves time for another one

my @hang = map { on_one('/agents/hangs/') } 1 .. 8;
$mute->set(mode => 'hang');
$one->drop('reset');
$one->refuse();
is(join(' ', map { $_->ask('!id') // 'closed' } @hang),
    join(' ', ('echo.2') x 8), 'an instance that hangs costs no client');
cmp_ok($mute->stats()->{requests}, '>=', 1, 'it was tried');
$one->listen();
$_->close() for @hang;

# many at once, of an old worker

$before = moves();
my @ws = map { on_one('/agents/echo/') } 1 .. 100;
$t->reload();
$one->drop('reset');
is(join(' ', map { $_->ask('!id') } @ws), join(' ', ('echo.2') x 100),
    'all of a worker that exits move');

wait_for(sub { moves() - $before == 100 }, 5);
is(moves() - $before, 100, 'all are counted');

###############################################################################

# the weights make the first one likely

sub on_one {
    my ($path, @more) = @_;

    for (1 .. 20) {
        my $ws = $t->websocket($path, @more);
        return $ws if $ws->ask('!id') eq 'echo.1';
        $ws->close();
    }

    die "echo.1 is never picked\n";
}

sub counts {
    my $counts = $t->counts();
    return { map { $_ => $counts->{$_} } grep { $counts->{$_} } keys %$counts };
}

sub moves {
    my ($echo) = grep { $_->{name} eq 'echo' } @{ $t->status()->{services} };
    return $echo->{moves};
}

sub data_frames {
    my ($agent) = @_;
    return scalar grep { $_->{opcode} < 8 } $agent->frames();
}

###############################################################################
