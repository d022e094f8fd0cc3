#!/usr/bin/perl

# The docs agent: real retrieval over Markdown, by HTTP, SSE, WebSocket and
# JSON-RPC, and what it says when asked badly.

use warnings;
use strict;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::CorralAgent;
use Test::More;

my $docs = tempdir(CLEANUP => 1) . '/docs';
mkdir $docs;

write_file("$docs/fruit.md", <<'EOT');
# Fruit

Fruit is sweet.

## Apples

Apples keep through the winter in a cellar. The cellar must be dry.

```
# not a heading: pear trees in a code block
```

## Bananas ##

Bananas ripen on the window sill.
EOT
write_file("$docs/tools.md", "# Tools\n\nThe directive corral_zone names a "
    . "zone.\n\nA cellar is no tool, nor winter, nor is fruit.\n"
    . "\nA hammer drives nails. " . ("Nothing else is here. " x 60) . "\n"
    . "\nA saw cuts planks. " . ("Nothing more is here. " x 60) . "\n");

my $a = Test::CorralAgent->new(listen => 'unix', command =>
    ["$FindBin::Bin/../deploy/agents/docs/agent.py", '--docs', $docs,
     '--token-delay', '1']);

###############################################################################

my ($status, $r) = ask('how long do apples keep in a cellar?');
is($status, 200, 'asked');
like($r->{answer}, qr/^Apples keep through the winter/, 'right passage');
is($r->{method}, 'bm25', 'says how it was found');
is($r->{sources}[0]{file}, 'docs/fruit.md', 'file');
is($r->{sources}[0]{heading}, 'Fruit / Apples', 'path of headings');
cmp_ok($r->{sources}[0]{score}, '>', $r->{sources}[1]{score},
    'sources are ranked');

(undef, $r) = ask('banana');
like($r->{answer}, qr/^Bananas ripen/, 'singular finds plural');
(undef, $r) = ask('pear');
is($r->{sources}[0]{heading}, 'Fruit / Apples', 'no heading in a code block');
(undef, $r) = ask('zone');
like($r->{answer}, qr/corral_zone/, 'part of a name');
(undef, $r) = ask('SAW planks');
like($r->{answer}, qr/^A saw cuts/, 'long sections are cut at paragraphs');
(undef, $r) = ask('quantum chromodynamics');
is_deeply($r, { answer => 'The documentation says nothing about that.',
    sources => [], method => 'bm25' }, 'nothing found is said');

# the formula, by hand: one passage with "hammer" among the passages

(undef, $r) = ask('hammer');
my ($n, $len, $avg) = counted();
my $want = log(1 + ($n - 1 + 0.5) / (1 + 0.5)) * 1 * 2.2
    / (1 + 1.2 * (1 - 0.75 + 0.75 * $len / $avg));
cmp_ok(abs($r->{sources}[0]{score} - $want), '<', 0.002,
    'score as the formula says')
    or diag "got $r->{sources}[0]{score}, want $want";

###############################################################################

# streams: the words joined are the answer

my ($s, $body, $head) = $a->http('POST', '/ask',
    body => '{"question":"apples"}',
    headers => "Accept: text/event-stream\r\n");
my @e = Test::CorralAgent::sse($body);
my @d = map { unjson($_->{data}) } @e;
is($d[-1]{event}, 'final', 'SSE: final event');
cmp_ok(scalar(@d), '>', 10, 'SSE: many tokens');
is(join('', map { $_->{text} } @d[0 .. $#d - 1]), $d[-1]{answer},
    'SSE: tokens joined are the answer');
is_deeply([map { $_->{id} } @e], [1 .. @e], 'SSE: ids');

($s, $body) = $a->http('GET', '/ask?question=apples');
is(unjson($body)->{answer}, $d[-1]{answer}, 'GET /ask');

my $ws = $a->ws();
for my $q ('apples', '{"question":"apples"}') {
    $ws->text($q);
    my @f = $ws->events_until(qr/^(?:final|error)$/);
    is($f[-1]{event}, 'final', "WebSocket: $q");
    is(join('', map { $_->{text} } @f[0 .. $#f - 1]), $f[-1]{answer},
        'tokens joined are the answer');
    is($f[-1]{method}, 'bm25', 'method');
}

# JSON-RPC

$ws->say_json({ jsonrpc => '2.0', id => 'q1', method => 'ask',
    params => { question => 'apples' } });
my (@notes, $result);
while (my $m = $ws->json_message()) {
    $result = $m, last if exists $m->{id};
    push @notes, $m;
}
is($result->{id}, 'q1', 'RPC: id');
is(join('', map { $_->{params}{text} } @notes), $result->{result}{answer},
    'RPC: token notifications joined are the answer');
is_deeply([grep { $_->{params}{id} ne 'q1' || $_->{method} ne 'token' }
    @notes], [], 'RPC: notifications name their call');

my $ok = '{"jsonrpc":"2.0","id":7,"method":"ask","params":["apples"]}';
for my $case (
    ['{"jsonrpc":"2.0","id":1,"method":"tell"}',            1, -32601],
    ['{"jsonrpc":"2.0","id":2,"method":"ask"}',             2, -32602],
    ['{"jsonrpc":"2.0","id":3,"method":"ask","params":{"question":5}}', 3,
        -32602],
    ['{"jsonrpc":"1.0","id":4,"method":"ask"}',             4, -32600],
    ['{"jsonrpc":"2.0","id":{},"method":"ask"}',            undef, -32600],
    ['{"jsonrpc":',                                         undef, -32700],
    ['[]',                                                  undef, -32600],
    ['[' x 100000,                                          undef, -32700],
    ['{"jsonrpc":"2.0","id":NaN}',                          undef, -32700],
    ['{"jsonrpc":"2.0","id":' . '9' x 5000 . '}',           undef, -32700])
{
    my ($text, $id, $code) = @$case;
    $ws->text($text);
    my $m = $ws->json_message();
    my $short = substr $text, 0, 40;
    is($m->{error}{code}, $code, "$short: $code");
    is($m->{id}, $id, "$short: id");
    (undef, my $b) = $a->http('POST', '/rpc', body => $text);
    is(unjson($b)->{error}{code}, $code, "$short: the same over HTTP");
}
($s, $body) = $a->http('POST', '/rpc', body => "[$ok, 5,"
    . '{"jsonrpc":"2.0","method":"ask","params":{"question":"x"}}]');
is_deeply([map { $_->{id} } @{unjson($body)}], [7, undef],
    'batch: a notification is not answered');
($s, $body) = $a->http('POST', '/rpc',
    body => '{"jsonrpc":"2.0","method":"ask","params":{"question":"x"}}');
is($s, 204, 'a notification alone: 204');

###############################################################################

# asked badly

for my $case (['{"question":""}', 400], ['{"question":null}', 400],
    ['[]', 400], ['{', 400], ["\xff\xfe", 400], ['', 400],
    [json({ question => 'x' x 2001 }), 400])
{
    ($s, $body) = $a->http('POST', '/ask', body => $case->[0]);
    is($s, $case->[1], 'refused: ' . substr $case->[0], 0, 30);
    like(unjson($body)->{detail}, qr/question|JSON/, 'with a sentence');
}
is(($a->http('GET', '/ask'))[0], 400, 'GET without a question');
is(($a->http('DELETE', '/ask'))[0], 405, 'wrong method');
is(($a->http('GET', '/x'))[0], 404, 'unknown path');

$ws->text('{"question":');
is($ws->json_message()->{event}, 'error', 'WebSocket: broken JSON');
$ws->text('{"question":' . '"\ud800"}');
is(($ws->events_until(qr/final|error/))[-1]{event}, 'final',
    'WebSocket: half a surrogate');
$ws->send(1, 2, 'apples');
is($ws->json_message()->{event}, 'error', 'WebSocket: binary');
$ws->text('x' x (1 << 20 | 1));
is($ws->close_code(), 1009, 'WebSocket: more than 1 MiB');
$ws->shut();

my $bad = Test::CorralAgent->new(ready => 0, command =>
    ["$FindBin::Bin/../deploy/agents/docs/agent.py", '--docs', '/nowhere.md']);
is($bad->wait_exit(), 1, 'missing file: exit status 1');
like($bad->read_file('stderr'), qr{"/nowhere.md": No such file}, 'named');

$a->stop_ok('docs');
done_testing();

###############################################################################

sub ask {
    my ($status, $body) = $a->http('POST', '/ask',
        body => json({ question => $_[0] }));
    return ($status, $status == 200 ? unjson($body) : $body);
}


# number of passages, words of the one with the hammer, mean words; counted
# from the text above by the rules of the page: stop words out, headings thrice

sub counted {
    my %stop = map { $_ => 1 } split ' ', 'a an and are as at be by can do does
        for from how i in is it its me my of on or please tell that the there
        this to was what when where which who why will with you your';
    my @p = (
        ['Fruit', 'Fruit is sweet.'],
        ['Fruit Apples', 'Apples keep through the winter in a cellar. The '
            . 'cellar must be dry. not a heading: pear trees in a code block'],
        ['Fruit Bananas', 'Bananas ripen on the window sill.'],
        ['Tools', 'The directive corral_zone corral zone names a zone. A '
            . 'cellar is no tool, nor winter, nor is fruit.'],
        ['Tools', 'A hammer drives nails. ' . 'Nothing else is here. ' x 60],
        ['Tools', 'A saw cuts planks. ' . 'Nothing more is here. ' x 60],
    );
    my @n = map {
        my ($h, $t) = map { scalar grep { !$stop{$_} } lc =~ /[a-z0-9_]+/g }
            @$_;
        3 * $h + $t
    } @p;
    my $sum = 0;
    $sum += $_ for @n;
    return (scalar @n, $n[4], $sum / @n);
}


sub write_file {
    my ($name, $text) = @_;
    open my $fh, '>', $name or die "$name: $!";
    print $fh $text;
    close $fh;
}
