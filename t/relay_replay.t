#!/usr/bin/perl

# Tests for replay: when an instance is lost, what the client has asked and nobody
# has answered is asked of another one, and no answer comes twice.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

use JSON::PP;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);
my $json = JSON::PP->new->canonical;

my @agents = map { $t->agent(id => "rpc.$_", port => 8080 + $_, rpc => 1) }
    1 .. 4;
my ($one, $two, $three, $four) = @agents;

my %rpc = (failover => 'replay', answer => 'jsonrpc', max_fails => 0,
    hold_time => '2s');
my %stream = (answer_final => '/result/final', answer_finals => [ 'true' ]);

# one and two serve, the other two are spare

$t->state_file(
    services => [
        { name => 'rpc', %rpc },
        { name => 'pre', %rpc, preamble_messages => 2 },
        { name => 'named', %rpc, preamble_names => [ 'init' ] },
        { name => 'stream', %rpc, %stream },
        { name => 'again', %rpc, %stream, replay_started => JSON::PP::true,
            reset => '{"method":"reset"}' },
        { name => 'small', %rpc, journal_size => 2048, hold_size => 1024 },
        { name => 'events', %rpc, answer => 'events', answer_name => '/event',
            answer_id => '/session_id', answer_requests => [ 'user.message' ],
            answer_finals => [ 'agent.final' ] },
        { name => 'poison', %rpc }
    ],
    instances => [
        map({ my $service = $_;
            map { { %{ $_->instance($service) }, id => "$service-$_->{id}" } }
                $one, $two
        } qw/rpc pre named stream again small events/),
        map({ { %{ $_->instance('poison') }, id => "poison-$_->{id}" } }
            $one, $three, $four) ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(77);

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
            corral_service_from   path;
            corral_websocket      agents;
            corral_close_timeout  300ms;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# what has no answer is asked again, what has one is not

my ($ws, $agent, $other) = on('rpc');

is(call($ws, 1, 'echo', 'a'), 'a', 'an answer passes');
say_to($ws, 2, 'hold');
say_to($ws, 3, 'hold');
is(call($ws, 4, 'echo', 'b'), 'b', 'so does one that overtakes others');
wait_for(sub { heard($agent) >= 5 }, 5);

my $before = heard($other);
$agent->drop('reset');
wait_for(sub { heard($other) - $before >= 2 }, 5);

is_deeply([ map { $_->{id} } @{ told($other) }[$before .. $before + 1] ],
    [ 2, 3 ], 'what had no answer is sent again, in its order');
is(call($ws, 5, 'id'), $other->id(), 'and the connection goes on');
is(heard($other) - $before, 3, 'nothing else was sent');

my ($frame) = grep { ($_->{payload} // '') =~ /"id":2,/ } reverse $other->frames();
ok(defined $frame->{mask}, 'it is masked, as a client does');
is($ws->close(), 1000, 'closed');

# the answer to a request that was sent again comes once

($ws, $agent, $other) = on('rpc');
$agent->set(mute => 1);
say_to($ws, 7, 'id');
say_to($ws, 'x"y', 'id');
wait_for(sub { (told($agent)->[-1]{id} // '') eq 'x"y' }, 5);
$agent->drop('eof');
$agent->set(mute => 0);
is_deeply(next_of($ws), { id => 7, jsonrpc => '2.0', result => $other->id() },
    'its answer comes from the other agent');
is(next_of($ws)->{id}, 'x"y', 'also of the second');
is(call($ws, 9, 'id'), $other->id(), 'and no answer more');
is($ws->close(), 1000, 'closed');

# many requests in one write, the agent dies in the middle

($ws, $agent, $other) = on('rpc');
$ws->send_raw(join '', map { $ws->frame(1, rpc($_, $_ == 20 ? 'drop' : 'id')) }
    1 .. 40);
my %ids = map { next_of($ws)->{id} => 1 } 1 .. 19;
is(keys %ids, 19, 'requests before the death are answered');

# the one that dropped the first agent drops the second one, too

is($ws->close_code(), 1011, 'a message that drops two agents is suspect');
is($ws->close_reason(), 'message is under suspicion', 'the reason');

($ws) = on('rpc');
$before = heard($one) + heard($two);
$ws->send_text(rpc(20, 'drop'));
is($ws->close_code(), 1011, 'whoever sends it is closed, too');
is(heard($one) + heard($two), $before, 'before an agent sees it');
($ws) = on('rpc');
like(call($ws, 99, 'id'), qr/^rpc/, 'other messages pass');
is($ws->close(), 1000, 'closed');
cmp_ok(total('rpc', 'suspects'), '>=', 1, 'suspects are counted');
like($t->read_file('error.log'), qr/in flight when two instances of service "rpc"/,
    'and logged');

# notifications: proved to be read, or sent again

($ws, $agent, $other) = on('rpc');
$before = $agent->stats()->{pings};
$ws->send_text('{"method":"note"}');
wait_for(sub { $agent->stats()->{pings} > $before }, 5);
is(call($ws, 1, 'id'), $agent->id(), 'a notification is followed by a ping');
$before = heard($other);
$agent->drop('reset');
is(call($ws, 2, 'id'), $other->id(), 'the agent had answered it');
is(heard($other) - $before, 1, 'so it is not sent again');

$other->set(pong => 0);
$ws->send_text('{"method":"note2"}');
$ws->send_text('plain text');
is($ws->read_message(), 'plain text', 'a message that is no JSON passes');
$before = heard($agent);
$other->drop('reset');
is($ws->read_message(), 'plain text', 'what nothing proves to be read goes again');
is(told($agent)->[$before]{method}, 'note2', 'in its order');
$other->set(pong => 1);
is(call($ws, 3, 'id'), $agent->id(), 'and the connection goes on');
is($ws->close(), 1000, 'closed');

# the preamble: sent each time, answered once; the rest waits for its answer

for my $service (qw/pre named/) {
    $ws = $t->websocket("/agents/$service/");
    is(call($ws, 0, 'init'), 'ready', "$service: the preamble is answered");
    $ws->send_text('{"method":"ready"}');

    ($agent, $other) = call($ws, 1, 'id') eq $one->id() ? ($one, $two)
        : ($two, $one);
    $agent->set(mute => 1);
    say_to($ws, 2, 'echo');
    wait_for(sub { (told($agent)->[-1]{id} // '') eq '2' }, 5);

    $before = heard($other);
    $agent->drop('reset');
    $agent->set(mute => 0);

    is(next_of($ws)->{id}, 2, "$service: only the open request is answered");
    is(join(' ', map { $_->{method} } @{ told($other) }[$before ..
        heard($other) - 1]), $service eq 'pre' ? 'init ready echo'
        : 'init echo', "$service: sent in this order");
    is(call($ws, 3, 'id'), $other->id(), "$service: and goes on");
    is($ws->close(), 1000, "$service: closed");
}

# a preamble that no other agent answers

$ws = $t->websocket('/agents/pre/');
is(call($ws, 0, 'init'), 'ready', 'the preamble');
($agent, $other) = call($ws, 1, 'id') eq $one->id() ? ($one, $two)
    : ($two, $one);
$other->set(rpc => 0, echo => 0);
$agent->drop('reset');
is($ws->close_code(), 1012, 'no agent resumes in time');
is($ws->close_reason(), 'agent did not resume', 'the reason');
$other->set(rpc => 1, echo => 1);

###############################################################################

# answers that have begun

($ws, $agent, $other) = on('stream');
say_to($ws, 1, 'part', 2);
is(next_of($ws)->{result}{n}, 1, 'part of an answer');
is(next_of($ws)->{result}{n}, 2, 'another one');
$agent->drop('reset');
is($ws->close_code(), 1012, 'an answer that has begun is not asked for again');
is($ws->close_reason(), 'agent lost within an answer', 'the reason');

($ws, $agent, $other) = on('stream');
say_to($ws, 1, 'stream', 2);
next_of($ws) for 1 .. 3;
$agent->drop('reset');
is(call($ws, 2, 'stream', 0)->{agent}, $other->id(), 'one that has ended is no matter');
is($ws->close(), 1000, 'closed');

($ws, $agent, $other) = on('again');
say_to($ws, 1, 'part', 1);
is(next_of($ws)->{result}{n}, 1, 'part of an answer');
$agent->drop('reset');
is(next_of($ws)->{method}, 'reset', 'the client is told that it begins anew');
is(next_of($ws)->{result}{n}, 1, 'and it does');
is($ws->close(), 1000, 'closed');

# the journal is full

($ws, $agent, $other) = on('small');
say_to($ws, $_, 'hold', 'x' x 600) for 1 .. 4;
wait_for(sub { (told($agent)->[-1]{id} // '') eq '4' }, 5);
$agent->drop('reset');
is($ws->close_code(), 1012, 'a message that was not kept cannot be sent again');
is($ws->close_reason(), 'agent lost, journal has overflowed', 'the reason');

($ws, $agent, $other) = on('small');
is(call($ws, $_, 'echo', 'x' x 600), 'x' x 600, 'answered') for 1 .. 5;
is(length call($ws, 6, 'echo', 'y' x 5000), 5000, 'longer than is held');
$agent->drop('reset');
is(call($ws, 7, 'id'), $other->id(), 'what is answered needs no room');
is(length call($ws, 8, 'fill', 70000), 70000, 'a long answer');
$other->drop('reset');
is(call($ws, 9, 'id'), $agent->id(), 'is an answer');
is($ws->close(), 1000, 'closed');

# events

$_->set(rpc => 0) for $one, $two;
$ws = $t->websocket('/agents/events/');
$ws->send_text('{"event":"user.message","session_id":"s1"}');
is(next_event($ws), 'user.message', 'no answer yet, an echo');
($agent, $other) = (grep { $_->{payload} =~ /s1/ } $one->frames())
    ? ($one, $two) : ($two, $one);
$agent->drop('reset');
is(next_event($ws), 'user.message', 'asked again');
$other->push_text('{"event":"agent.final","session_id":"s1"}');
is(next_event($ws), 'agent.final', 'the answer');
$other->drop('reset');
$ws->send_text('{"event":"x"}');
is(next_event($ws), 'x', 'what is answered is not asked again');
is($ws->close(), 1000, 'closed');
$_->set(rpc => 1) for $one, $two;

# compression: no journal could read it

$ws = $t->websocket('/agents/rpc/',
    headers => [ 'Sec-WebSocket-Extensions: permessage-deflate' ]);
unlike(join('', ($one->requests())[-1], ($two->requests())[-1]),
    qr/permessage-deflate/, 'it is not offered to the agent');
is($ws->header('Sec-WebSocket-Extensions'), undef, 'so the client has none');
is($ws->close(), 1000, 'closed');

# a poison message: at most two die

$_->set(rpc_die => 'poison') for @agents;
my @pids = map { $_->pid() } $one, $three, $four;

for (1 .. 3) {
    my $ws = $t->websocket('/agents/poison/');
    $ws->send_text(rpc(1, 'poison'));
    is($ws->close_code(), 1011, 'the sender is closed');
}

is(scalar(grep { $t->alive($_) } @pids), 1, 'two of three instances have died');
is(total('poison', 'suspects'), 1, 'one suspect');
cmp_ok(total('rpc', 'replayed'), '>=', 6, 'messages that were sent again are counted');

###############################################################################

# a WebSocket with the agent that it reached, and the other one

sub on {
    my ($service) = @_;

    my $ws = $t->websocket("/agents/$service/");
    my $id = call($ws, 'who', 'stream', 0)->{agent};

    return $id eq $one->id() ? ($ws, $one, $two) : ($ws, $two, $one);
}

sub rpc {
    my ($id, $method, $params) = @_;
    return $json->encode({ jsonrpc => '2.0', id => $id, method => $method,
        defined $params ? (params => $params) : () });
}

sub say_to {
    my ($ws, @rpc) = @_;
    $ws->send_text(rpc(@rpc));
}

sub next_of {
    my ($ws) = @_;
    my $m = $ws->read_message();
    return defined $m ? $json->decode($m) : { id => 'none: ' . $ws->close_code() };
}

sub next_event { next_of($_[0])->{event} }

# asks and expects that the next message is the answer

sub call {
    my ($ws, $id, @more) = @_;
    say_to($ws, $id, @more);
    my $got = next_of($ws);
    return $got->{id} eq $id ? $got->{result} : "of $got->{id}";
}

# messages that an agent got, as far as they are JSON objects

sub told {
    my ($agent) = @_;
    return [ map { $json->decode($_->{payload}) }
        grep { ($_->{payload} // '') =~ /^\{/ } $agent->frames() ];
}

sub heard { scalar @{ told($_[0]) } }

sub total {
    my ($service, $what) = @_;
    my ($s) = grep { $_->{name} eq $service } @{ $t->status()->{services} };
    return $s->{$what};
}

###############################################################################
