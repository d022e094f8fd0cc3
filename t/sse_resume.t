#!/usr/bin/perl

# Server-sent events that can be resumed: each has an id, a client that comes
# back gets what it has missed, from any worker, while the agent goes on.

###############################################################################

use warnings;
use strict;

use Test::More;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

$t->plan(46 + 3);
$s->start(2);

my $asked = $d->dir() . '/asked';
my $program = $d->dir() . '/stream.py';

open my $fh, '>', $program or die "$program: $!";
print $fh do { local $/; <DATA> };
close $fh;

open $fh, '>', $asked or die "$asked: $!";
close $fh;
chmod 0666, $asked;                 # agents have a user of their own

$d->service(name => 'stream', command => [ '/usr/bin/python3', $program, $asked,
        '{listen}' ],
    sse_resume => JSON::PP::true, sse_events => 100, sse_run_on => '2s',
    readiness_probe => { type => 'http', path => '/health',
        interval => '200ms', timeout => '2s' });
$d->service(name => 'plain', command => [ '/usr/bin/python3', $program, $asked,
        '{listen}' ],
    readiness_probe => { type => 'http', path => '/health',
        interval => '200ms', timeout => '2s' });
$d->wait_running($_, 1) for qw/stream plain/;

my $port = $t->port(8080);

###############################################################################

# ids, and what else passes

my $c = get('/agents/stream/s?n=3&name=a');
my @e = events($c);

like($c->{head}, qr{^HTTP/1.1 200 }, 'a stream');
like($c->{head}, qr/^Corral-Run: ([0-9a-f]{32})-0\r$/m, 'its name');
my ($run) = $c->{head} =~ /^Corral-Run: ([0-9a-f]{32})/m;

is(join(' ', map { $_->{data} } @e), '1 2 3', 'all events');
is(join(' ', map { $_->{id} } @e), "$run-1 $run-2 $run-3", 'with our ids');
like($c->{text}, qr/^: hello\n\n/, 'a comment passes');
like($c->{text}, qr/^id: agent-1\n/m, 'and the id of the agent');
is($e[1]{event}, 'word', 'the name of an event is left');

unlike(get('/agents/plain/s?n=2')->{head}, qr/Corral-Run/,
    'not for a service that does not want it');
is(scalar(grep { defined $_->{id} && $_->{id} =~ /^[0-9a-f]{32}-/ }
        events(get('/agents/plain/s?n=2'))), 0, 'nor ids');

# a client that leaves and comes back, from both workers

for my $try (1 .. 6) {
    $c = get("/agents/stream/s?n=40&every=0.02&name=b$try");
    @e = events($c, 3);
    close $c->{socket};

    my @rest = events(get("/agents/stream/s?n=40&name=b$try", $e[2]{id}));
    my @all = map { $_->{data} } @e[0 .. 2], @rest;

    next if "@all" eq join(' ', 1 .. 40) && asked("b$try") == 1;

    fail("try $try: got @all, the agent was asked " . asked("b$try"));
}

pass('it gets the rest, each event once, and the agent is not asked again');

# after the end: what is left, then nothing

$c = get('/agents/stream/s?n=5&name=c');
@e = events($c);
is(join(' ', map { $_->{data} } events(get('/agents/stream/s', $e[1]{id}))),
    '3 4 5', 'after its end a stream can still be read');
like(get('/agents/stream/s', $e[4]{id})->{head}, qr{^HTTP/1.1 204 },
    'one who has all is told not to come again');
is(join(' ', map { $_->{data} }
        events(get("/agents/stream/s?last_event_id=$e[2]{id}"))),
    '4 5', 'the id may stand in the query');
($run) = $e[0]{id} =~ /^(.*)-/;
is(join(' ', map { $_->{data} } events(get('/agents/stream/s', "$run-0"))),
    '1 2 3 4 5', 'from the beginning, with the name of the run');

# nobody comes back

$c = get('/agents/stream/s?n=1000&every=0.05&name=d');
events($c, 2);
close $c->{socket};
my $t0 = time();

is(active(), 1, 'the agent goes on without a client');
ok(wait_for(sub { slurp($asked) =~ /^d broken \d+$/m }, 10),
    'but not for ever');
cmp_ok(time() - $t0, '>', 1.5, 'not less than sse_run_on');
cmp_ok(time() - $t0, '<', 6, 'nor much more');
ok(wait_for(sub { active() == 0 }, 5), 'then it counts no more');

# a run that nobody knows, ids of others, other services

@e = events(get('/agents/stream/s', 'f' x 32 . '-7'));
is($e[0]{event}, 'gap', 'an unknown run is a gap');
is($e[0]{data}, '{"reason":"unknown","from":8}', 'that says so');
is($e[0]{id}, '', 'and takes the id away');
is(scalar @e, 1, 'then the stream ends');

is(join(' ', map { $_->{data} }
        events(get('/agents/stream/s?n=2&name=e', 'agent-7'))), '1 2',
    'an id of the agent goes to the agent');
like(slurp($asked), qr/^e asked agent-7$/m, 'with the request');

$c = get('/agents/stream/s?n=2');
@e = events($c);
is((events(get('/agents/plain/s?n=1', $e[0]{id})))[0]{data}, '1',
    'a run is not to be had through another service');

# more events than are kept

$c = get('/agents/stream/s?n=400&name=f');
my @all = events($c);
is(scalar @all, 400, 'a long stream');
@e = events(get('/agents/stream/s', $all[0]{id}));
is($e[0]{event}, 'gap', 'what is kept no more is a gap');
my ($from, $to) = $e[0]{data}
    =~ /^\{"reason":"dropped","from":(\d+),"to":(\d+)\}$/;
is($from, 2, 'from the first that is missing');
is($e[1]{data}, $to + 1, 'to the last one');
is($e[-1]{data}, 400, 'and all that came then');
cmp_ok(scalar @e, '>=', 101, 'as many as were asked for');

# the agent dies: who comes back is told that there will be no more

$c = get('/agents/stream/s?n=1000&every=0.05&name=g');
@e = events($c, 2);
kill 'KILL', ($d->instances('stream'))[0]{pid};
events($c);

my @after = events(get('/agents/stream/s', $e[1]{id}));
is($after[-1]{event}, 'gap', 'a stream that broke off ends with a gap');
like($after[-1]{data}, qr/"reason":"lost"/, 'that says so');
is($after[-1]{id}, '', 'and takes the id away');

$d->wait_instances('stream', sub { 1 == grep { $_->{incarnation} == 2
    && $_->{health} eq 'healthy' && $_->{state} eq 'running' } @_ }, 20);

# without Redis

$c = get('/agents/stream/s?n=30&every=0.1&name=h');
@e = events($c, 2);
kill 'STOP', $d->_redis_pid();
my @more = events(get('/agents/stream/s', $e[1]{id}));
my @own = events($c);
kill 'CONT', $d->_redis_pid();

is(scalar @own, 30, 'a stream does not wait for Redis');
is(scalar @more, 0, 'who comes back gets nothing');

ok(wait_for(sub { @e = events(get('/agents/stream/s', "$run-0")); @e == 5 },
    20), 'but may come again');
ok(wait_for(sub {
    $d->api('PATCH', '/services/plain', { description => 'after' });
    $d->{http} == 200 }, 20), 'corrald is back, too');

# a key that was lost with Redis is made anew by the next event, and expires

$c = get('/agents/stream/s?n=120&every=0.1&name=i');
@e = events($c, 1);
my ($lost) = $e[0]{id} =~ /^(.*)-/;
my $key = 'corral:test:run:' . $d->api('GET', '/services/stream')->{service_id}
    . ":$lost";
$t0 = time();

$d->redis_cli('DEL', $key);
ok(wait_for(sub { $d->redis_cli('PTTL', $key) eq '-1' }, 3), 'a key without an end');
kill 'KILL', $d->_redis_pid();
delete $d->{redis_pid};
ok(wait_for(sub { $d->redis_cli('PTTL', $key) =~ /^[1-9]/ }, 8),
    'has one after Redis was lost');
cmp_ok(time() - $t0, '<', 9, 'before its lease is renewed');
close $c->{socket};

my %of = map { $_->{name} => $_ } @{ $t->status()->{services} };
cmp_ok($of{stream}{streams}, '>=', 12, 'streams are counted');
cmp_ok($of{stream}{resumes}, '>=', 14, 'and those who come back');
cmp_ok($of{stream}{gaps}, '>=', 3, 'and gaps');
ok(wait_for(sub { active() == 0 }, 5), 'in the end nothing is open');

$s->finish();

###############################################################################

# Sends a request and reads the head of the answer.

sub get {
    my ($path, $id) = @_;

    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port",
        Proto => 'tcp') or die "connect: $!";

    print $socket "GET $path HTTP/1.1\r\nHost: localhost\r\n"
        . (defined $id ? "Last-Event-ID: $id\r\n" : '')
        . "Connection: close\r\n\r\n";

    my $c = { socket => $socket, raw => '', text => '', head => '' };

    while ($c->{raw} !~ /\r\n\r\n/ && more($c)) { }

    $c->{head} = $1 if $c->{raw} =~ s/^(.*?\r\n)\r\n//s;

    return $c;
}

sub more {
    my ($c) = @_;

    return 0 unless IO::Select->new($c->{socket})->can_read(15);
    return sysread($c->{socket}, $c->{raw}, 65536, length $c->{raw});
}

# The next n events, or all up to the end.

sub events {
    my ($c, $n) = @_;

    my @events;

    do {
        while ($c->{raw} =~ s/^([0-9a-f]+)\r\n//) {
            my $len = hex $1;

            more($c) or last while length $c->{raw} < $len + 2;

            $c->{text} .= substr($c->{raw}, 0, $len);
            substr($c->{raw}, 0, $len + 2) = '';
        }

        @events = map { event($_) } grep { /^(?:data|event)/m }
            $c->{text} =~ /\G(.+?\n)\n/gs;

        return @events[0 .. $n - 1] if defined $n && @events >= $n;
    } while (more($c));

    return @events;
}

# The last field of each name counts.

sub event {
    return { map { /^(\w+): ?(.*)$/ } split /\n/, $_[0] };
}

sub asked { scalar(() = slurp($asked) =~ /^$_[0] asked/mg) }

sub active {
    my ($service) = grep { $_->{name} eq 'stream' }
        @{ $t->status()->{services} };
    my $n = 0;

    $n += $_->{active} for @{ $service->{instances} };
    return $n;
}

###############################################################################

__DATA__
"""A stream of n events, one each "every" seconds; notes who asked."""

import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


def note(text):
    with open(sys.argv[1], 'a') as f:
        f.write(text + '\n')


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def address_string(self):
        return 'gateway'

    def log_message(self, *args):
        pass

    def chunk(self, text):
        self.wfile.write(b'%x\r\n%s\r\n' % (len(text), text.encode()))

    def do_GET(self):
        url = urlparse(self.path)
        q = {k: v[0] for k, v in parse_qs(url.query).items()}
        if url.path == '/health':
            self.send_response(200)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        name = q.get('name', '-')
        note(f"{name} asked {self.headers.get('last-event-id', '')}")
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        k = 0
        try:
            self.chunk(': hello\r\n\r\n' if name == 'x' else ': hello\n\n')
            for k in range(1, int(q.get('n', 1)) + 1):
                text = f'event: word\nid: agent-{k}\ndata: {k}\n\n'
                self.chunk(text[:7])
                self.chunk(text[7:])
                time.sleep(float(q.get('every', 0)))
            self.chunk('')
        except OSError:
            note(f'{name} broken {k}')


class Unix(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    daemon_threads = True

    def server_bind(self):
        self.socket.bind(self.server_address)
        os.chmod(self.server_address, 0o660)
        self.server_name, self.server_port = 'agent', 0

    def get_request(self):
        request, _ = self.socket.accept()
        return request, ('gateway', 0)


note('begin')
Unix(sys.argv[2].removeprefix('unix:'), Handler).serve_forever()
