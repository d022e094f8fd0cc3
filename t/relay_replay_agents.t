#!/usr/bin/perl

# Tests for replay with the agents that come with Corral: the assistant (MyAgent's
# events, Python) and the tally (JSON-RPC, Node) keep their sessions where another
# instance finds them, and a client does not notice that its own was killed.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::CorralAgent qw(node_modules);

use JSON::PP;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);
my $json = JSON::PP->new->canonical;
my $d = $t->testdir();
my $deploy = "$FindBin::Bin/../deploy/agents";

plan(skip_all => 'python3-websockets is missing')
    if system('/usr/bin/python3', '-c', 'import websockets');

my $node = node_modules();
my %pids;

mkdir "$d/state";

my @assistants = map { agent("assistant.$_", 8080 + $_, '/usr/bin/python3',
    "$deploy/assistant/agent.py", '--state-dir', "$d/state",
    '--state-key-file', "$d/key", '--token-delay', '20') } 1, 2;
my @tallies = $node ? map { agent("tally.$_", 8090 + $_, 'node',
    "$deploy/node-echo/server.js", '--sessions', "$d/tally") } 1, 2 : ();

my %replay = (failover => 'replay', max_fails => 0);

$t->state_file(
    services => [
        { name => 'assistant', %replay, answer => 'events',
            answer_name => '/event', answer_id => '/session_id',
            answer_requests => [ 'user.create_session', 'user.message' ],
            answer_streams => [ 'agent.thinking', 'agent.tool_call',
                'agent.tool_result', 'agent.partial_answer' ],
            answer_finals => [ 'agent.session_created', 'agent.final_answer',
                'agent.error' ],
            replay_started => JSON::PP::true,
            reset => '{"event":"gateway.reset"}' },
        { name => 'tally', %replay, answer => 'jsonrpc' }
    ],
    instances => [ map({ { %$_, service => 'assistant' } } @assistants),
        map({ { %$_, service => 'tally' } } @tallies) ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(14);

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

# the assistant

my $ws = $t->websocket('/agents/assistant/');
is(next_of($ws)->{event}, 'system.connected', 'assistant: greeted');

send_event($ws, event => 'user.create_session');
my $sid = until_event($ws, 'agent.session_created')->{session_id};
ok($sid, 'assistant: a session');

message($ws, 'remember: the red barn');
until_event($ws, 'agent.final_answer');

kill_agent('assistant');
message($ws, 'show my notes');
my ($answer, @events) = until_event($ws, 'agent.final_answer');
is($answer->{content}, '1. the red barn', 'assistant: the session goes on');
is(grep({ $_->{event} =~ /connected|created/ } @events), 0,
    'assistant: no second greeting');

# killed within an answer: it begins anew

message($ws, 'tell me about the barn');
my @before = until_event($ws, 'agent.partial_answer');
is($before[0]{event}, 'agent.partial_answer', 'assistant: an answer has begun');
kill_agent('assistant');
my ($reset) = until_event($ws, 'gateway.reset');
is($reset->{event}, 'gateway.reset', 'assistant: the client is told');
($answer, @events) = until_event($ws, 'agent.final_answer');
ok(length $answer->{content}, 'assistant: and gets the answer');
is(scalar(grep { $_->{event} eq 'agent.final_answer' } @events), 0,
    'assistant: once');

message($ws, 'show my notes');
is((until_event($ws, 'agent.final_answer'))[0]{content}, '1. the red barn',
    'assistant: and the session goes on');
is($ws->close(), 1000, 'assistant: closed');

# the tally

SKIP: {
    skip 'node or ws is not installed', 4 unless $node;

    $ws = $t->websocket('/agents/tally/tally');
    is(add($ws, 1, 5)->{sum}, 5, 'tally: a sum');
    is(add($ws, 2, 7)->{sum}, 12, 'tally: it grows');
    kill_agent('tally');
    my $got = add($ws, 3, 1);
    is_deeply([ @$got{qw/sum resumed/} ], [ 13, 1 ],
        'tally: another instance goes on with it');
    is(add($ws, 3, 1)->{sum}, 13, 'tally: a request that comes again adds none');
    $ws->close();
}

###############################################################################

# starts an agent and waits until it listens; what an instance needs

sub agent {
    my ($id, $port, @command) = @_;

    my $address = '127.0.0.1:' . $t->port($port);
    my ($service) = $id =~ /^(\w+)/;
    my $start = sub {
        $pids{$service}{$id} = $t->run_daemon('env', "CORRAL_INSTANCE=$id",
            @command, '--listen', $address);
        $t->waitforsocket($address);
    };

    $start->();
    $pids{start}{$id} = $start;

    return { id => $id, address => $address };
}

# kills the instance that the last connection of the service has, and starts it
# again when the gateway has moved

sub kill_agent {
    my ($service) = @_;

    my ($id) = grep { /^$service/ && $t->counts()->{$_} }
        keys %{ $t->counts() };
    my $pid = delete $pids{$service}{$id};

    kill 'KILL', $pid;
    wait_for(sub { !$t->counts()->{$id} }, 5);
    $t->stop_daemon($pid);
    $pids{start}{$id}->();
}

sub send_event {
    my ($ws, %event) = @_;
    $ws->send_text($json->encode(\%event));
}

sub message {
    my ($ws, $text) = @_;
    send_event($ws, event => 'user.message', session_id => $sid, content => $text);
}

sub next_of {
    my ($ws) = @_;
    my $m = $ws->read_message(10);
    return defined $m ? $json->decode($m)
        : { event => 'none: ' . $ws->close_code() };
}

# reads until an event of this name; it and all before

sub until_event {
    my ($ws, $name) = @_;
    my @before;

    while (1) {
        my $e = next_of($ws);
        return wantarray ? ($e, @before) : $e
            if $e->{event} eq $name || $e->{event} =~ /^none/;
        push @before, $e;
    }
}

sub add {
    my ($ws, $id, $n) = @_;
    $ws->send_text($json->encode({ jsonrpc => '2.0', id => $id,
        method => 'add', params => $n }));
    return next_of($ws)->{result} // {};
}

###############################################################################
