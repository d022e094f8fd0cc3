#!/usr/bin/perl

# The echo agents against clients that are not ours: Python's websockets and
# npm's ws, each with and without compression.

use warnings;
use strict;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::CorralAgent;
use Test::More;

my $agents = "$FindBin::Bin/../deploy/agents";
my $dir = tempdir(CLEANUP => 1);

is(system($ENV{CC} || 'cc', qw(-std=gnu11 -O1 -pthread -o), "$dir/bench",
    glob "$agents/bench/bench[-_]*.c"), 0, 'bench-agent builds');

write_file("$dir/client.py", <<'EOT');
import asyncio, os, sys, websockets

async def main(port, compression):
    async with websockets.connect("ws://127.0.0.1:%s/p?q=1" % port,
                                  max_size=None,
                                  compression=compression) as ws:
        for data in ("", "text", "gr\u00fc\u00dfe" * 1000, b"", b"\0\xff",
                     os.urandom(65535), os.urandom(65536),
                     os.urandom(5000000), "y" * 3000000):
            await ws.send(data)
            got = await asyncio.wait_for(ws.recv(), 30)
            assert got == data, (type(data), len(data), len(got))
        await ws.send([b"one", b"", b"two" * 50000])
        assert await ws.recv() == b"one" + b"two" * 50000
        await asyncio.wait_for(await ws.ping(b"x" * 125), 10)
        for i in range(500):
            await ws.send("%d" % i)
        for i in range(500):
            assert await ws.recv() == "%d" % i
    assert ws.close_code == 1000, ws.close_code

for compression in None, "deflate":
    asyncio.run(main(sys.argv[1], compression))
EOT

write_file("$dir/client.js", <<'EOT');
const { WebSocket } = require('ws');
const crypto = require('node:crypto');
const assert = require('node:assert');

async function main(port, perMessageDeflate) {
  const ws = new WebSocket(`ws://127.0.0.1:${port}/p?q=1`,
    { perMessageDeflate, maxPayload: 0 });
  await new Promise((ok, bad) => { ws.on('open', ok); ws.on('error', bad); });
  const got = [];
  let wake = () => {};
  ws.on('message', (data, binary) => { got.push([data, binary]); wake(); });
  const next = async () => {
    while (!got.length) { await new Promise((ok) => { wake = ok; }); }
    return got.shift();
  };
  for (const data of ['', 'text', 'grüße'.repeat(1000), Buffer.alloc(0),
    crypto.randomBytes(65535), crypto.randomBytes(65536),
    crypto.randomBytes(5000000), 'y'.repeat(3000000)]) {
    ws.send(data);
    const [back, binary] = await next();
    assert.strictEqual(binary, typeof data !== 'string');
    assert.ok(back.equals(Buffer.from(data)), `${data.length} bytes`);
  }
  ws.send('one', { fin: false });
  ws.send('two'.repeat(50000), { fin: true });
  assert.strictEqual(String((await next())[0]), 'one' + 'two'.repeat(50000));
  const pong = new Promise((ok) => ws.on('pong', ok));
  ws.ping('x'.repeat(125));
  assert.strictEqual((await pong).length, 125);
  const closed = new Promise((ok) => ws.on('close', ok));
  ws.close(1000);
  assert.strictEqual(await closed, 1000);
}

(async () => {
  await main(process.argv[2], false);
  await main(process.argv[2], true);
})().catch((error) => { console.error(error.message); process.exit(1); });
EOT

my %agent = (
    bench => ["$dir/bench"],
    echo  => ["$agents/echo/agent.py"],
);
my $node = node_modules();
$agent{'node-echo'} = ['node', "$agents/node-echo/server.js"] if $node;

for my $name (sort keys %agent) {
    my $a = Test::CorralAgent->new(command => $agent{$name}, listen => 'tcp');
    is(system('/usr/bin/python3', "$dir/client.py", $a->{port}), 0,
        "$name: Python websockets");
    SKIP: {
        skip('node or ws is not installed', 1) unless $node;
        local $ENV{NODE_PATH} = $node;
        is(system('node', "$dir/client.js", $a->{port}), 0, "$name: npm ws");
    }
    $a->stop_ok($name);
}

done_testing();

###############################################################################

sub write_file {
    my ($name, $text) = @_;
    open my $fh, '>', $name or die "$name: $!";
    print $fh $text;
    close $fh;
}
