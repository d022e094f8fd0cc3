#!/usr/bin/perl

# The assistant: MyAgent's event protocol. The tests named "A6.n" prove that a
# known defect of MyAgent's own server is not repeated: 3 a session could not be
# resumed through a proxy, 11 streamed text was lost and reordered, 12 a resumed
# session had forgotten everything, 13 acknowledgements were ignored and buffers
# never freed, 14 each restart voided all states.

use warnings;
use strict;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::CorralAgent;
use Test::More;
use Time::HiRes qw(sleep time);

my $tmp = tempdir(CLEANUP => 1);
open my $fh, '>', "$tmp/d.md" or die;
print $fh "# Barn\n\nThe barn is red, and the door of the barn creaks "
    . "loudly.\n\n# Field\n\nBehind the barn lies a field.\n";
close $fh;

my @command = ("$FindBin::Bin/../deploy/agents/assistant/agent.py",
    '--docs', "$tmp/d.md", '--token-delay', '1');
my @shared = ('--state-key-file', "$tmp/key", '--state-dir', "$tmp/states");

my $a = Test::CorralAgent->new(listen => 'unix',
    command => [@command, '--linger', '2', @shared]);

###############################################################################

# greeting, session, a message with a tool

my $ws = $a->ws();
my $e = $ws->json_message();
is($e->{event}, 'system.connected', 'greeting');
is($e->{content}, 'Connected to MyAgent WebSocket Server', 'its words');
is($e->{seq}, 1, 'seq begins with 1');
my $cid = $e->{metadata}{connection_id};
is($e->{event_id}, "$cid-1", 'event_id');
like($e->{timestamp}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'timestamp');

my $sid = create($ws);
my @e = ask($ws, $sid, 'calc: 2*(3+4)^2');
my %by = map { $_->{event} => $_ } @e;
is($e[0]{event}, 'agent.thinking', 'thinking first');
is($by{'agent.tool_call'}{metadata}{tool}, 'calc', 'tool call');
is($by{'agent.tool_call'}{metadata}{status}, 'running', 'running');
is($by{'agent.tool_call'}{step_id}, 'step_1_calc', 'step_id');
is($by{'agent.tool_result'}{step_id}, 'step_1_calc', 'result, same step_id');
is($by{'agent.tool_result'}{metadata}{status}, 'success', 'success');
is($by{'agent.tool_result'}{metadata}{data}{value}, '98', 'value');
is($e[-1]{content}, '2*(3+4)^2 = 98', 'final answer');
is($e[-1]{metadata}{method}, 'rules', 'the answer says how it was made');
is_deeply([map { $_->{session_id} } @e], [($sid) x @e], 'session_id in all');

@e = ask($ws, $sid, 'What is 7 / 0 ?');
%by = map { $_->{event} => $_ } @e;
is($by{'agent.tool_result'}{metadata}{status}, 'failed', 'failed tool');
is($by{'agent.tool_result'}{metadata}{error}, 'division by zero', 'its error');

for my $case (['9**9**9', 'too large'], ['(' x 900 . '1', 'deeper than'],
    ['__import__("os")', 'cannot read'], ['1' x 2000, 'longer than'],
    ['sqrt(2', 'expected "\)"'], ['foo(1)', 'unknown'])
{
    my $began = time();
    @e = ask($ws, $sid, "calc $case->[0]");
    like($e[-1]{content}, qr/$case->[1]/, 'calc refuses: '
        . substr $case->[0], 0, 20);
    cmp_ok(time() - $began, '<', 2, 'quickly');
}

# defect A6.11: every delta arrives, in order, before the final answer

@e = ask($ws, $sid, 'what colour has the barn?');
my @deltas = grep { $_->{event} eq 'agent.partial_answer' } @e;
is(join('', map { $_->{content} } @deltas), $e[-1]{content},
    'A6.11: deltas joined are the answer');
cmp_ok(scalar(@deltas), '>', 9, 'A6.11: many deltas');
is_deeply([map { $_->{metadata}{word_count} } @deltas[0 .. $#deltas - 1]],
    [1 .. $#deltas], 'A6.11: in order');
ok($deltas[-1]{metadata}{is_final}, 'A6.11: the last is marked');
is($deltas[-1]{metadata}{total_length}, length $e[-1]{content},
    'A6.11: total length');
is($e[-1]{event}, 'agent.final_answer', 'A6.11: final answer last');
is_deeply([map { $_->{seq} } @e], [$e[0]{seq} .. $e[0]{seq} + $#e],
    'A6.11: no hole in seq');
is($e[-1]{metadata}{method}, 'bm25', 'search says bm25');
is($e[-1]{metadata}{sources}[0]{heading}, 'Barn', 'with sources');
@e = ask($ws, $sid, 'more');
is($e[-1]{metadata}{sources}[0]{heading}, 'Field', 'more: the next passage');

# errors in MyAgent's words

for my $case (
    [{ event => 'user.message', session_id => 'nobody-00', content => 'x' },
        'agent.error', qr/^Session not found$/],
    [{ event => 'user.message', session_id => $sid, content => ' ' },
        'agent.error', qr/^Message content cannot be empty$/],
    [{ event => 'user.message', session_id => $sid, content => [1] },
        'agent.error', qr/^Message content cannot be empty$/],
    [{ event => 'user.message', session_id => $sid, content => 'x' x 16001 },
        'agent.error', qr/too long/],
    [{ event => 'user.response', session_id => $sid },
        'agent.error', qr/^Missing step_id in user response$/],
    [{ event => 'user.response', session_id => $sid, step_id => 'x',
        content => { confirmed => JSON::PP::true } },
        'agent.error', qr/Nothing waits .*"x"/],
    [{ event => 'user.cancel_plan', session_id => $sid },
        'agent.error', qr/^Agent does not support cancel_plan$/],
    [{ event => 'user.reconnect' }, 'system.error',
        qr/^Unknown event type or missing session_id: user.reconnect$/],
    [{ event => 'user.message' }, 'system.error', qr/missing session_id/],
    [{ event => [] }, 'system.error', qr/^Unknown event type/],
    [{ event => 'user.reconnect_with_state' }, 'system.error',
        qr/^Missing signed_state in reconnect request$/],
    [{ event => 'user.reconnect_with_state', signed_state => 'x' },
        'system.error', qr/^Invalid state: /],
    [{ event => 'user.create_session', content => 'x' },
        'system.error', qr/content must be an object/],
    [{ event => 'user.create_session', session_id => '../../etc' },
        'system.error', qr/session_id must be/],
    [{ event => 'user.ack', content => 'x' }, 'system.error', qr/user.ack/],
    [{ event => 'user.ack', content => JSON::PP::true }, 'system.error',
        qr/user.ack/],
    [{ event => 'user.cancel', session_id => $sid }, 'system.notice',
        qr/Nothing is running/],
    [[1], 'system.error', qr/^Invalid JSON: /],
    ['x', 'system.error', qr/^Invalid JSON: /])
{
    my ($body, $event, $re) = @$case;
    ref $body ? $ws->say_json($body) : $ws->text($body);
    $e = $ws->json_message();
    my $what = substr ref $body ? json($body) : $body, 0, 60;
    is($e->{event}, $event, "refused: $what");
    like($e->{content}, $re, 'in words');
}
for my $text ('[' x 90000, '{"event":NaN}', '{"event":' . '9' x 9000 . '}',
    '{"event":"user.reconnect_with_state","signed_state":' . '{"a":' x 90000)
{
    $ws->text($text);
    like($ws->json_message()->{content}, qr/^Invalid JSON: /,
        'refused: ' . substr $text, 0, 40);
}
$ws->send(1, 2, "\0\1");
like($ws->json_message()->{content}, qr/binary/, 'refused: binary');

# a second message while the first is answered; cancel

say_message($ws, $sid, 'tell me about the barn and the field');
say_message($ws, $sid, 'and again');
@e = $ws->events_until(qr/^agent\.(?:error|final_answer)$/);
is($e[-1]{content}, 'Agent is currently running, please try again later',
    'one answer at a time');
$ws->say_json({ event => 'user.cancel', session_id => $sid });
@e = $ws->events_until(qr/^agent\.(?:interrupted|final_answer)$/);
is($e[-1]{event}, 'agent.interrupted', 'cancelled');
is($e[-1]{content}, 'Execution cancelled', 'in MyAgent\'s words');
$ws->send_raw($ws->build(1, 1, json({ event => 'user.message',
    session_id => $sid, content => 'barn' }))
    . $ws->build(1, 1, json({ event => 'user.cancel', session_id => $sid })));
@e = $ws->events_until(qr/^agent\.(?:interrupted|final_answer)$/);
is($e[-1]{event}, 'agent.interrupted', 'cancelled in the same segment');

# a tool that asks first

ask($ws, $sid, 'remember that the cow is called Elsa');
ask($ws, $sid, 'remember: feed her at six');
@e = ask($ws, $sid, 'show my notes');
is($e[-1]{content}, "1. the cow is called Elsa\n2. feed her at six", 'notes');

my $confirm = until_confirm('delete my notes');
like($confirm->{step_id}, qr/^confirm_[0-9a-f]{8}_delete_notes$/, 'step_id');
is($confirm->{metadata}{tool_name}, 'delete_notes', 'tool_name');
ok($confirm->{metadata}{requires_confirmation}, 'requires_confirmation');
is_deeply($confirm->{metadata}{tool_args}, { count => 2 }, 'tool_args');

my $other = $a->ws();
$other->json_message();
$other->say_json({ event => 'user.response', session_id => $sid,
    step_id => $confirm->{step_id}, content => { confirmed => JSON::PP::true }
    });
is($other->json_message()->{content},
    'Session does not belong to this connection', 'nobody else can confirm');
$other->say_json({ event => 'user.cancel', session_id => $sid });
ok(!$other->message(0.2), 'nor cancel; that is silent');

respond($confirm, JSON::PP::false, 'I need them');
@e = $ws->events_until(qr/final_answer/);
is($e[-1]{content}, 'Nothing was deleted: I need them.', 'refused: kept');
@e = ask($ws, $sid, 'show my notes');
like($e[-1]{content}, qr/Elsa/, 'still there');

###############################################################################

# acknowledgements prune the buffer, in each shape a client sends

my $before = info($a)->{buffered_events};
cmp_ok($before, '>', 50, 'events are buffered');
ack({ last_seq => $e[0]{seq} });
cmp_ok(info($a)->{buffered_events}, '==', @e - 1, 'A6.13: content {last_seq}');
ack({ last_event_id => $e[1]{event_id} });
is(info($a)->{buffered_events}, @e - 2, 'A6.13: content {last_event_id}');
ack($e[2]{seq});
is(info($a)->{buffered_events}, @e - 3, 'A6.13: a bare number');
ack(99999999);
is(info($a)->{buffered_events}, @e - 3, 'a number never sent frees nothing');

###############################################################################

# state: export, and back

my $state = state($ws, $sid);
is_deeply([sort keys %$state],
    [qw(checksum signature state timestamp version)], 'signed state');
is_deeply([sort keys %{$state->{state}}],
    [qw(agent_state created_at current_step last_active_at memory_snapshot
        metadata pending_confirmations session_id tool_states)],
    'fields of the state');

for my $case (['signature', sub { $_[0]{state}{current_step}++ }],
    ['signature', sub { $_[0]{timestamp} += 1 }],
    ['signature', sub { $_[0]{signature} = 'x' }],
    ['signature', sub { $_[0]{state} = [] }],
    ['Version mismatch', sub { $_[0]{version} = '2.0' }],
    ['State checksum mismatch', sub { $_[0]{checksum} = 'x' }],
    ['Missing required field: checksum', sub { delete $_[0]{checksum} }])
{
    my $forged = unjson(json($state));
    $case->[1]->($forged);
    $other->say_json({ event => 'user.reconnect_with_state',
        signed_state => $forged });
    like($other->json_message()->{content}, qr/^Invalid state: .*$case->[0]/,
        "forged state: $case->[0]");
}

# the connection dies while an answer is under way; another takes over

say_message($ws, $sid, 'tell me about the barn');
my @first = map { $ws->json_message() } 1 .. 4;
$ws->shut();
$ws = $a->ws();
$ws->json_message();
$ws->say_json({ event => 'user.reconnect_with_state',
    signed_state => $state, content => { last_event_id =>
    $first[-1]{event_id} } });
$e = $ws->json_message();
is($e->{event}, 'agent.state_restored', 'A6.3: a dead connection\'s session '
    . 'is taken over');
is($e->{content}, 'Session state restored successfully', 'its words');
is($e->{session_id}, $sid, 'under its own id');
is($e->{metadata}{original_session_id}, $sid, 'original_session_id');
is($e->{metadata}{agent_name}, 'corral-assistant', 'agent_name');
@e = $ws->events_until(qr/final_answer/);
push @e, $ws->json_message() unless grep { $_->{event} eq 'system.notice' } @e;
my ($notice) = grep { $_->{event} eq 'system.notice' } @e;
is($notice->{content}, 'Replay completed', 'replay is announced');
ok(!$notice->{metadata}{gap}, 'without a gap');
my @rest = grep { $_->{event} ne 'system.notice' } @e;
my $whole = join '', map { $_->{content} } grep { $_->{event} eq
    'agent.partial_answer' } @first, @rest;
my ($final) = grep { $_->{event} eq 'agent.final_answer' } @rest;
is($whole, $final->{content}, 'A6.3: the answer is whole over two connections');
my ($again) = grep { $_->{metadata}{orig_seq} } @rest;
ok(!$again || $again->{metadata}{orig_event_id} =~ /-\Q$again->{metadata}{orig_seq}\E$/,
    'replayed events carry their first ids');

# the old connection is half open: its peer answers no ping

my $state2 = state($ws, $sid);
my $third = $a->ws();
$third->json_message();
my $began = time();
$third->say_json({ event => 'user.reconnect_with_state',
    signed_state => $state2 });         # $ws does not answer pings meanwhile
$e = $third->json_message();
is($e->{event}, 'agent.state_restored', 'A6.3: a half-open one loses it');
cmp_ok(time() - $began, '<', 5, 'within the ping timeout');
$ws->shut();
$ws = $third;
$ws->events_until(qr/^system\.notice$/);

# an alive one answers and keeps it

my $fourth = $a->ws();
$fourth->json_message();
$fourth->say_json({ event => 'user.reconnect_with_state',
    signed_state => $state2 });
ok(!$ws->message(0.5), 'the owner answers the ping');
is($fourth->json_message()->{content},
    'Session already active on another connection', 'and keeps the session');
$_->shut() for $fourth, $other;

###############################################################################

# restart: the key file makes the state good for the next process

$state = state($ws, $sid);
$confirm = until_confirm('delete my notes');
my $waiting = state($ws, $sid);
$ws->shut();
$a->stop_ok('assistant');
$a->spawn();
ok($a->wait_ready(), 'restarted');

$ws = $a->ws();
$ws->json_message();
$ws->say_json({ event => 'user.reconnect_with_state',
    signed_state => $state, content => { last_seq => 3 } });
$e = $ws->json_message();
is($e->{event}, 'agent.state_restored', 'A6.14: a restart voids no state');
cmp_ok($e->{metadata}{message_count}, '>', 10, 'A6.12: memory is back');
like($e->{metadata}{warnings}[0], qr/later state/, 'the stored, later state '
    . 'was taken');
@e = $ws->events_until(qr/^(?:system\.notice)$/);
is($e[-1]{content}, 'No buffered events available for replay',
    'nothing to replay');
$e = $ws->json_message();
is($e->{event}, 'agent.user_confirm', 'what was asked is asked again');
is($e->{step_id}, $confirm->{step_id}, 'with the same step_id');
respond($e, JSON::PP::true);
@e = $ws->events_until(qr/final_answer/);
is($e[-1]{content}, '2 notes deleted.', 'and can be answered');
@e = ask($ws, $sid, 'what did I say before?');
is($e[-1]{content}, 'You said: delete my notes',
    'A6.12: the conversation is remembered');
$ws->shut();

# sessions without a connection are freed with their buffers

my $end = time() + 10;
sleep(0.1) while info($a)->{sessions} && time() < $end;
is(info($a)->{sessions}, 0, 'A6.13: lingering sessions are freed');
is(info($a)->{buffered_events}, 0, 'A6.13: with their buffers');
$ws = $a->ws();
$ws->json_message();
say_message($ws, $sid, 'hello');
is($ws->json_message()->{content}, 'Session is closed', 'and are closed');

# other instances with the same key file or variable take the state, others not

my $b = Test::CorralAgent->new(listen => 'tcp', command => [@command],
    env => { ASSISTANT_STATE_KEY => key_text() });
my $w = $b->ws();
$w->json_message();
$w->say_json({ event => 'user.reconnect_with_state', signed_state => $state });
is($w->json_message()->{event}, 'agent.state_restored',
    'A6.14: key from the environment');
@e = $w->events_until(qr/^system\.notice$/);
@e = ask($w, $sid, 'show my notes');
like($e[-1]{content}, qr/Elsa/, 'A6.12: tool state is back');
$w->shut();
$b->stop_ok('with key in environment');

$b = Test::CorralAgent->new(listen => 'tcp', command => [@command]);
$w = $b->ws();
$w->json_message();
$w->say_json({ event => 'user.reconnect_with_state', signed_state => $state });
is($w->json_message()->{content}, 'Invalid state: Invalid state signature',
    'another key refuses');
$w->shut();
$b->stop_ok('without key');
like($b->read_file('stdout'), qr/"warning".*states end with this process/,
    'and the log had said so');
is((stat "$tmp/key")[2] & 0777, 0600, 'the key file is private');

###############################################################################

# behind the gateway: Corral-Session, Corral-Resume

my $s1 = "Corral-Session: alice-1\r\n";
$ws->shut();
$ws = $a->ws(headers => $s1);
is($ws->json_message()->{event}, 'system.connected', 'gateway: greeting');
$sid = create($ws);
ask($ws, $sid, 'remember: alice was here');
$ws->shut();

$w = $a->ws(headers => "Corral-Session: mallory\r\n");
$w->json_message();
say_message($w, $sid, 'show my notes');
is($w->json_message()->{content}, 'Session does not belong to this connection',
    'gateway: another session\'s client gets nothing');
$w->shut();

$w = $a->ws(headers => $s1 . "Corral-Resume: 1\r\n");
@e = ask($w, $sid, 'show my notes');
is($e[0]{event}, 'agent.thinking', 'gateway: no second greeting');
is($e[-1]{content}, '1. alice was here', 'gateway: the session goes on');
$w->shut();

my $c = Test::CorralAgent->new(listen => 'unix', command => [@command,
    @shared]);
$w = $c->ws(headers => $s1 . "Corral-Resume: 2\r\n");
@e = ask($w, $sid, 'show my notes');
is($e[-1]{content}, '1. alice was here',
    'gateway: and on another instance, by the state folder');
my $own = 'client-chosen-0001';
$w->say_json({ event => 'user.create_session', session_id => $own });
is($w->json_message()->{session_id}, $own, 'gateway: the client\'s id is taken');
$w->shut();

$w = $c->ws(headers => "Corral-Session: mallory\r\nCorral-Resume: 1\r\n");
say_message($w, $sid, 'show my notes');
isnt($w->json_message()->{event}, 'agent.thinking',
    'gateway: Corral-Resume opens no foreign session');
@e = ask($w, 'unknown-session-1', 'barn');
is($e[-1]{event}, 'agent.final_answer',
    'gateway: an unknown id of a moved client is taken over');

# SIGTERM: the answer under way is finished, then 1012

say_message($w, 'unknown-session-1', 'tell me about the barn');
$w->json_message();
$c->signal('TERM');
@e = $w->events_until(qr/final_answer/);
is($e[-1]{event}, 'agent.final_answer', 'running answer is finished');
is($w->close_code(), 1012, 'then 1012');
$w->shut();
is($c->wait_exit(), 0, 'exit status 0');
unlike($c->read_file('stderr'), qr/Traceback|never awaited/, 'no trace');

$a->stop_ok('assistant');
done_testing();

###############################################################################

sub create {
    my ($ws) = @_;
    $ws->say_json({ event => 'user.create_session', content => {} });
    my $e = $ws->json_message();
    is($e->{event}, 'agent.session_created', 'session created');
    is($e->{content}, 'Session created successfully', 'in words');
    return $e->{session_id};
}


sub say_message {
    my ($ws, $sid, $text) = @_;
    $ws->say_json({ event => 'user.message', session_id => $sid,
        content => $text });
}


sub ask {
    my ($ws, $sid, $text) = @_;
    say_message($ws, $sid, $text);
    return $ws->events_until(qr/^agent\.(?:final_answer|error)$/);
}


sub until_confirm {
    my ($text) = @_;
    say_message($ws, $sid, $text);
    return ($ws->events_until(qr/^agent\.(?:user_confirm|final_answer)$/))[-1];
}


sub respond {
    my ($confirm, $yes, $reason) = @_;
    $ws->say_json({ event => 'user.response', session_id => $sid,
        step_id => $confirm->{step_id}, content => { confirmed => $yes,
        defined $reason ? (reason => $reason) : () } });
}


sub ack { $ws->say_json({ event => 'user.ack', content => $_[0] });
          $ws->say_json({ event => 'user.reconnect' });
          $ws->json_message(); }

sub info { return unjson(($_[0]->http('GET', '/'))[1]) }


sub state {
    my ($ws, $sid) = @_;
    $ws->say_json({ event => 'user.request_state', session_id => $sid });
    my $e = $ws->json_message();
    is($e->{event}, 'agent.state_exported', 'state exported');
    return $e->{metadata}{signed_state};
}


sub key_text {
    open my $fh, '<', "$tmp/key" or die "$tmp/key: $!";
    chomp(my $key = <$fh>);
    return $key;
}
