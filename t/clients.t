#!/usr/bin/perl

# Tests with clients and agents that are not ours: python3-websockets, ws for
# node, Mojolicious and curl.  Each client talks to each agent through Corral.
#
# ws comes with "npm ci" in t/node; what is not installed is left out.

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

use JSON::PP;

my $t = Test::Corral->new()
    ->has(qw/corral corral_status corral_websocket curl/);

# what each client does, in its own language: a text, a large binary message, a
# ping, 100 numbered messages, a close with a code.  It prints the results.

my %clients = (
    python => [ '/usr/bin/python3', 'client.py', <<'EOF' ],
import asyncio, json, sys, websockets

async def main(url):
    out = {}
    async with websockets.connect(url, max_size=None,
                                  subprotocols=["v2", "v1"]) as ws:
        out["extensions"] = len(ws.extensions)
        out["subprotocol"] = ws.subprotocol
        await ws.send("grüß dich, 世界")
        out["text"] = await ws.recv() == "grüß dich, 世界"
        data = bytes(range(256)) * 1000
        await ws.send(data)
        out["binary"] = await ws.recv() == data
        await (await ws.ping(b"hi"))
        out["ping"] = True
        await ws.send(["frag", "men", "ted"])
        out["fragments"] = await ws.recv() == "fragmented"
        for i in range(100):
            await ws.send("n%d" % i)
        out["order"] = [await ws.recv() for i in range(100)] == \
            ["n%d" % i for i in range(100)]
        await ws.close(4000, "bye")
        out["close"] = ws.close_code
    print(json.dumps(out))

asyncio.run(main(sys.argv[1]))
EOF
    node => [ 'node', 'client.js', <<'EOF' ],
const WebSocket = require(process.env.NODE_WS);
const ws = new WebSocket(process.argv[2], ["v2", "v1"]);
const out = {}, got = [];
const data = Buffer.alloc(256000, Buffer.from([...Array(256).keys()]));

ws.on("open", () => {
  out.extensions = ws.extensions ? 1 : 0;
  out.subprotocol = ws.protocol;
  ws.ping("hi");
  ws.send("grüß dich, 世界");
  ws.send(data);
  ws.send("frag", { fin: false });
  ws.send("men", { fin: false });
  ws.send("ted", { fin: true });
  for (let i = 0; i < 100; i++) ws.send("n" + i);
});

ws.on("pong", () => { out.ping = true; });
ws.on("message", (message, binary) => {
  got.push(binary ? message : message.toString());
  if (got.length < 103) return;
  out.text = got[0] === "grüß dich, 世界";
  out.binary = data.equals(got[1]);
  out.fragments = got[2] === "fragmented";
  out.order = got.slice(3).every((m, i) => m === "n" + i);
  ws.close(4000, "bye");
});
ws.on("close", (code) => {
  out.close = code;
  console.log(JSON.stringify(out));
});
EOF
    mojo => [ $^X, 'client.pl', <<'EOF' ],
use warnings;
use strict;
use utf8;
use Mojo::UserAgent;
use Mojo::JSON qw/encode_json/;

my ($url) = @ARGV;
my ($ua, %out, @got) = (Mojo::UserAgent->new(max_redirects => 0));
my $data = join('', map { chr } 0 .. 255) x 1000;

$ua->websocket($url => [ 'v2', 'v1' ] => sub {
    my ($ua, $tx) = @_;

    die "no handshake\n" unless $tx->is_websocket();

    $tx->max_websocket_size(1_000_000);
    $out{extensions} = $tx->compressed() ? 1 : 0;
    $out{subprotocol} = $tx->protocol();

    $tx->on(frame => sub { $out{ping} = \1 if $_[1][4] == 10 });
    $tx->on(message => sub {
        push @got, $_[1];
        return if @got < 103;
        $out{text} = $got[0] eq 'grüß dich, 世界' ? \1 : \0;
        $out{binary} = $got[1] eq $data ? \1 : \0;
        $out{fragments} = $got[2] eq 'fragmented' ? \1 : \0;
        $out{order} = "@got[3 .. 102]" eq join(' ', map { "n$_" } 0 .. 99)
            ? \1 : \0;
        $tx->finish(4000, 'bye');
    });
    $tx->on(finish => sub {
        $out{close} = $_[1];
        Mojo::IOLoop->stop();
    });

    $tx->send([ 1, 0, 0, 0, 9, 'hi' ]);
    $tx->send('grüß dich, 世界');
    $tx->send({ binary => $data });
    $tx->send([ 0, 0, 0, 0, 1, 'frag' ]);
    $tx->send([ 0, 0, 0, 0, 0, 'men' ]);
    $tx->send([ 1, 0, 0, 0, 0, 'ted' ]);
    $tx->send("n$_") for 0 .. 99;
});

Mojo::IOLoop->start() unless Mojo::IOLoop->is_running();
print encode_json(\%out), "\n";
EOF
);

# agents of theirs: they send back what they get

my %agents = (
    python => [ '/usr/bin/python3', 'agent.py', <<'EOF' ],
import asyncio, sys, websockets

async def echo(ws, path):
    async for message in ws:
        await ws.send(message)

async def main():
    async with websockets.serve(echo, "127.0.0.1", int(sys.argv[1]),
                                max_size=None, subprotocols=["v1"]):
        await asyncio.Future()

asyncio.run(main())
EOF
    node => [ 'node', 'agent.js', <<'EOF' ],
const { WebSocketServer } = require(process.env.NODE_WS);
const server = new WebSocketServer({ host: "127.0.0.1", port: process.argv[2],
  perMessageDeflate: true, handleProtocols: () => "v1" });

server.on("connection", (ws) => {
  ws.on("message", (message, binary) => ws.send(message, { binary }));
});
EOF
);

$ENV{NODE_WS} = "$FindBin::Bin/node/node_modules/ws";

my %missing = (
    python => system("/usr/bin/python3 -c 'import websockets' 2>/dev/null"),
    node => system('node -e \'require(process.env.NODE_WS)\' 2>/dev/null'),
    mojo => !eval { require Mojo::UserAgent },
);

delete @clients{grep { $missing{$_} } keys %missing};
delete @agents{grep { $missing{$_} } keys %missing};

diag("not installed: $_") for grep { $missing{$_} } sort keys %missing;

my $own = $t->agent(id => 'own.1', port => 8081,
    headers => [ 'Sec-WebSocket-Protocol: v1' ]);
my %ports = (python => 8082, node => 8083);

$t->state_file(
    services => [ map { { name => $_ } } 'own', 'plain', sort keys %agents ],
    instances => [ $own->instance('own'),
        $own->instance('plain', id => 'plain.1'),
        map { { id => "$_.1", service => $_,
            address => '127.0.0.1:' . port($ports{$_}) } } sort keys %agents ]);

my $pairs = keys(%clients) * (1 + keys %agents);

$t->write_file_expand('nginx.conf', <<'EOF')->plan($pairs + 5);

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
            proxy_pass          http://agents;
            proxy_http_version  1.1;
            proxy_set_header    Connection "";
            proxy_buffering     off;
        }

        location = /status { corral_status; }
    }
}

EOF

for my $name (sort keys %agents) {
    my ($program, $file, $code) = @{ $agents{$name} };
    $t->write_file($file, $code);
    $t->run_daemon($program, $file, port($ports{$name}));
}

$t->run()->wait_for_revision(1);
$t->waitforsocket(port($ports{$_}), 10) for keys %agents;

###############################################################################

my $good = { text => 1, binary => 1, ping => 1, fragments => 1, order => 1,
    subprotocol => 'v1', close => 4000 };
my %deflate;

for my $client (sort keys %clients) {
    my ($program, $file, $code) = @{ $clients{$client} };
    $t->write_file($file, $code);

    for my $service ('own', sort keys %agents) {
        my $url = 'ws://127.0.0.1:' . port(8080) . "/agents/$service/";
        my $out = run($program, $t->testdir() . "/$file", $url);
        my $result = eval { JSON::PP->new->decode($out) } // { output => $out };

        $deflate{$service} += delete $result->{extensions} // 0;
        $_ = "$_" for grep { ref } values %$result;

        is_deeply($result, $good, "$client with $service");
    }
}

# permessage-deflate was agreed where both speak it, and passed

cmp_ok($deflate{node} // 1, '>=', 1, 'compressed messages');
is($deflate{own}, 0, 'not with an agent that has no compression');

# curl: plain requests and events, as they come

my $base = 'http://127.0.0.1:' . port(8080);

like(run('curl', '-s', '--include', '-N', "$base/agents/plain/sse?n=3"),
    qr{^HTTP/1.1 200 .*^content-type: text/event-stream\r.*id: 3\n}msi,
    'curl: events');
like(run('curl', '-s', '-d', 'body', "$base/agents/plain/x"),
    qr/"body":"body"/, 'curl: post');
like(run('curl', '-s', '--include', "$base/agents/nobody/x"),
    qr{^HTTP/1.1 404 .*"code":"service_not_found"}s, 'curl: problem');

###############################################################################

sub run {
    my @cmd = @_;

    my $pid = open my $fh, '-|';
    die "Can't fork: $!\n" unless defined $pid;

    if ($pid == 0) {
        open STDERR, '>&', \*STDOUT;
        alarm 20;
        exec @cmd or exit 127;
    }

    local $/;
    my $out = <$fh> // '';
    close $fh;

    return $out;
}

###############################################################################
