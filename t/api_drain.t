#!/usr/bin/perl

# Drains: connections are closed at a pace, those that are idle longest first,
# between two messages, with 1012 and a time to come back, and all of them by
# the deadline; the operation counts.

###############################################################################

use warnings;
use strict;

use Test::More;
use IO::Select;
use JSON::PP;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;
use Test::Corral::WebSocket qw/:frames/;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

my $ctl = ($ENV{CORRAL_BUILD} // "$Test::Corral::ROOT/build/"
    . ($ENV{KIND} // 'release')) . '/corral';

my $agent = $t->agent(id => 'ext', port => 8081);

$t->plan(43 + 3);
$s->start(3);

###############################################################################

$d->api('POST', '/services', { name => 'ext', desired => 'running',
    replicas => 0, drain_rate => 10 });
register("ext.$_") for 1, 2;

# what is refused changes nothing

for ([ { rate => -1 }, 'rate' ], [ { deadline => '2h' }, 'up to|to 1h' ],
    [ { deadline => 'soon' }, 'duration' ], [ { code => 1 }, 'not a member' ],
    [ { reason => 'x' x 91 }, 'at most 90' ])
{
    my $r = $d->api('POST', '/services/ext/actions/drain', $_->[0]);
    is($d->{http}, 422, 'refused: ' . encode_json($_->[0]));
    like(encode_json($r), qr/$_->[1]/, 'and why');
}

is($d->api('GET', '/services/ext')->{desired}, 'running', 'nothing changed');
$d->api('POST', '/gateways/nowhere/actions/drain', {});
is($d->{http}, 404, 'no such gateway');

# an instance: its connections alone, ten a second

my @ws = open_all(20);
my @one = grep { $_->{at} eq 'ext.1' } @ws;
my @two = grep { $_->{at} eq 'ext.2' } @ws;
is(@one . ' ' . @two, '10 10', 'ten each');

my $start = time();
my $op = $d->api('POST', '/instances/ext.1/actions/drain',
    { rate => 5, deadline => '60s', reason => 'maintenance',
        retry_after => '4s' });
is($d->{http}, 202, 'accepted');
is("$op->{action} $op->{target} $op->{state}", 'drain ext.1 running',
    'an operation');

my @closed = closes(10, @one);
my $took = $closed[-1]{time} - $closed[0]{time};
is(scalar @closed, 10, 'all of the instance are closed');
is(scalar(grep { $_->{code} == 1012 } @closed), 10, 'with 1012');
cmp_ok($took, '>', 1.2, 'at a pace');
cmp_ok($closed[-1]{time} - $start, '<', 10, 'that is not slower than asked');
my @hints = map { $_->{reason} =~ /^maintenance retry_after=([1-4])$/ } @closed;
is(scalar @hints, 10, 'each is told when to come back');
is(scalar(grep { $_->{ws}->ask('on') // '' eq 'on' } map { { ws => $_ } } @two),
    10, 'the others go on');

$op = ended($op);
is("$op->{state} $op->{done} $op->{wanted}", 'succeeded 10 10', 'it has ended');
like($op->{message}, qr/^10 connections were closed, 10 of them got the close/,
    'and says how many');
is($_->{at}, 'ext.2', 'new ones go elsewhere') for open_all(2);

$d->api('POST', '/instances/ext.1/actions/resume');
ok(wait_for(sub { ($d->instance('ext.1')->{state} // '') eq 'running' }, 5),
    'until it is resumed');
$t->close_clients();
ok(wait_for(sub { total() == 0 }, 5), 'all gone');

# order: idle first; one within a message waits for its end

@ws = open_all(9);
my %by;
push @{ $by{ $_->{worker} } }, $_ for @ws;
my ($most) = sort { @$b <=> @$a } values %by;

$start = time();
wait_for(sub { time() - $start > 0.3 }, 2);
my ($last, $half, @rest) = @$most;
$last->ask('used last');
$half->send_raw($half->frame(TEXT, 'half', fin => 0));

$op = $d->api('POST', '/services/ext/actions/drain',
    { rate => 9, deadline => '6s', retry_after => 0 });
@closed = closes(8, grep { $_ != $half } @ws);
is(scalar @closed, 8, 'those between messages are closed');
is((grep { $_->{ws}{worker} eq $last->{worker} } @closed)[-1]{ws}, $last,
    'the one used last is the last of its worker');
is($closed[0]{reason}, 'draining', 'no hint, as asked');
is($d->api('GET', "/operations/$op->{operation_id}")->{state}, 'running',
    'it is not over');
ok(!IO::Select->new($half->socket())->can_read(1.5),
    'no Close within a message');
$half->send_raw($half->frame(CONT, ' whole'));
is($half->read_message(), 'half whole', 'the message is answered');
is($half->close_code(), 1012, 'then that is closed, too');
is($d->api('GET', '/services/ext')->{desired}, 'paused', 'it is paused');
$op = ended($op);
is("$op->{state} $op->{done}", 'succeeded 9', 'nine in all');

$d->api('POST', '/services/ext/actions/resume');
ok(wait_for(sub { http_get('/agents/ext/') =~ m!^HTTP/1.1 200! }, 5),
    'resumed');

# counted

my ($n) = map { $_->{closes_drained} } grep { $_->{name} eq 'ext' }
    @{ $t->status()->{services} };
is($n, 19, 'counted as drained');

# a message without an end, and the deadline; a rate that would miss it

@ws = open_all(12);
$ws[0]->send_raw($ws[0]->frame(TEXT, 'half', fin => 0));
my $gateway = ($s->workers())[0]{gateway};
my ($out, $pid) = run_ctl('drain', '--of-gateway', $gateway, '--rate', 1,
    '--deadline', '2s', '--wait', 20);
$start = time();
@closed = closes(12, @ws);
is(scalar @closed, 12, 'all by the deadline');
cmp_ok($closed[-1]{time} - $start, '<', 4.5, 'not at one a second');
cmp_ok($closed[-1]{time} - $closed[4]{time}, '>', 0.3, 'nor all at the end');
waitpid $pid, 0;
is($?, 0, 'corral drain has waited');
like(do { local $/; <$out> }, qr/^12 connections were closed, 12 of them/m,
    'and says what was done');

$s->finish();

###############################################################################

sub register {
    my ($id) = @_;
    $d->api('POST', '/services/ext/instances', { instance_id => $id,
        address => $agent->address(), ttl => '1h' });
    wait_for(sub { http_get('/agents/ext/') =~ m!^HTTP/1.1 200! }, 5);
    wait_for(sub { defined $s->counted('ext')->{$id} }, 5);
}

sub open_ws {
    my $ws = $t->websocket('/agents/ext/', timeout => 10);
    die 'no handshake: ' . $ws->head() unless $ws->accepted();
    $ws->ask('!id');
    return $ws;
}

# Opens so many; then each knows its instance (at) and its worker.

sub open_all {
    my ($n) = @_;

    my @ws = map { open_ws() } 1 .. $n;
    my %by = map { $_->socket()->sockport() => $_ } @ws;

    wait_for(sub {
        for (@{ $d->api('GET', '/connections?limit=1000')->{items} // [] }) {
            my $ws = $by{ $_->{client_port} } // next;
            @$ws{qw/at worker/} = @$_{qw/instance_id worker/};
        }
        $n == grep { $_->{worker} } @ws;
    }, 5) or die "not all are listed\n";

    return @ws;
}

# The closes of so many of these connections, in the order in which they come.

sub closes {
    my ($n, @from) = @_;

    my (@got, $end);
    my %by = map { fileno($_->socket()) => $_ } @from;
    my $select = IO::Select->new(map { $_->socket() } @from);
    $end = time() + 15;

    while (@got < $n && time() < $end) {
        for my $socket ($select->can_read(0.2)) {
            my $ws = $by{ fileno $socket };
            my $code = $ws->close_code();
            push @got, { ws => $ws, code => $code, time => time(),
                reason => $ws->close_reason() };
            $select->remove($socket);
        }
    }

    return @got;
}

sub ended {
    my ($op) = @_;
    wait_for(sub {
        $op = $d->api('GET', "/operations/$op->{operation_id}");
        $op->{state} ne 'running';
    }, 15);
    return $op;
}

sub total { $d->api('GET', '/connections?service=ext')->{total} // -1 }

sub run_ctl {
    my (@args) = @_;
    local $ENV{CORRAL_API} = "http://127.0.0.1:$d->{port}";
    local $ENV{CORRAL_TOKEN} = $d->{token};
    my $pid = open my $fh, '-|' or do {
        open STDIN, '<', '/dev/null';
        open STDERR, '>&', \*STDOUT;
        exec $ctl, @args;
        die "$ctl: $!\n";
    };
    return ($fh, $pid);
}

###############################################################################
