#!/usr/bin/perl

# The checker of the fault matrix can fail: behind it are agents that lose,
# double, reorder, damage and end what they are to echo.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new();
my $f = Test::Corral::Fault->new($t);

$t->write_file('agent.py', <<'EOF2');
import asyncio, sys, websockets

# What each does to the third message, the first of them to none.

async def agent(ws, path):
    held, n = None, 0
    async for message in ws:
        n += 1
        if n == 3 and path == "/lose":
            continue
        if n == 3 and path == "/swap":
            held = message
            continue
        if n == 3 and path == "/damage":
            message = message[:-1] + "!"
        if n == 3 and path == "/kind":
            message = message.encode()
        if n == 3 and path == "/foreign":
            message = "hello"
        if n == 3 and path == "/close":
            await ws.close(1012)
            return
        if n == 3 and path == "/abort":
            await asyncio.sleep(0.5)    # what came before was read by then
            ws.transport.abort()
            return
        await ws.send(message)
        if n == 3 and path == "/double":
            await ws.send(message)
        if held:
            await ws.send(held)
            held = None

async def main():
    async with websockets.serve(agent, "127.0.0.1", int(sys.argv[1])):
        await asyncio.Future()

asyncio.run(main())
EOF2

my @cases = (
    [ 'echo', qr/^$/, 5, 0 ],
    [ 'lose', qr/: 4 comes where 3 is due$/, 5, 0 ],
    [ 'swap', qr/: 4 comes where 3 is due\n\d+: 3 is doubled$/, 5, 0 ],
    [ 'double', qr/: 3 is doubled$/, 5, 0 ],
    [ 'damage', qr/: 3 is damaged\n\d+: 4 comes where 3 is due$/, 5, 0 ],
    [ 'kind', qr/: 3 is damaged\n\d+: 4 comes where 3 is due$/, 5, 0 ],
    [ 'foreign', qr/: a strange message: 'hello'\n/, 5, 0 ],
    [ 'close', qr/: ended with 1012\n\d+: 3 of 5 messages are lost$/, 2, 3 ],
    [ 'abort', qr/: ended with 1006\n\d+: 3 of 5 messages are lost$/, 2, 3 ],
);

Test::More::plan(tests => 3 * @cases + 2);

$t->run_daemon('/usr/bin/python3', 'agent.py', port(8081));
$t->waitforsocket(port(8081), 10) or die "No agent\n";

###############################################################################

for (@cases) {
    my ($what, $verdict, $heard, $due) = @$_;

    my $ids = $f->check('connect', n => 1,
        url => 'ws://127.0.0.1:' . port(8081) . "/$what")->{ids};
    $f->check('say', ids => $ids, n => 5);
    my $r = $f->check('judge', ids => $ids, timeout => 5);

    like(join("\n", @{ $r->{verdicts} }), $verdict, "$what: the verdict");
    is($r->{messages}, $heard, "$what: the last that came");
    is($f->check('unanswered', ids => $ids)->{count}, $due,
        "$what: not answered");
}

# an answer that never comes is lost, too; nobody serves, nobody is served

my $ids = $f->check('connect', n => 1,
    url => 'ws://127.0.0.1:' . port(8081) . '/lose')->{ids};
$f->check('say', ids => $ids, n => 3);
is_deeply($f->check('judge', ids => $ids, timeout => 0.5)->{verdicts},
    [ "$ids->[0]: 1 of 3 messages are lost" ], 'the last one is lost');
is($f->check('serve', n => 3,
    url => 'ws://127.0.0.1:' . port(8082) . '/')->{served}, 0, 'none served');
