#!/usr/bin/perl

# Tests for the examples in conf/services/: the API takes them as they stand, but
# for what they start, and they do what they say.

###############################################################################

use warnings;
use strict;

use JSON::PP;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_websocket corrald redis-server/);

plan(skip_all => 'python3-websockets is missing')
    if system('/usr/bin/python3', '-c', 'import websockets');

my $s = Test::Corral::Stack->new($t);
my $d = $s->d();
my $dir = $d->dir();

my @files = map { m{([^/]+)$} } glob '../conf/services/*.yaml';

$t->plan(@files + 9 + 3);
$s->start(1);

###############################################################################

for my $file (@files) {
    my ($code, $out, $err) = $d->ctl('apply', '--dry-run', '-f',
        "../conf/services/$file");
    is($code, 0, "$file is taken") or diag($out, $err);
}

# a session of MCP, told by the agent; its instances are those of the test

my $mcp = example('mcp.yaml');
$mcp =~ s/^command:\n(?:  - .*\n)+//m or die 'no command';
$mcp =~ s/^replicas: 3$/replicas: 0/m or die 'no replicas';
$mcp =~ s/^listen: .*\n//m or die 'no listen';
apply('mcp', $mcp);

my @agents = map { $t->agent(id => "mcp.$_", port => 8090 + $_) } 1 .. 3;
$d->api('POST', '/services/mcp/instances', { instance_id => $_->id(),
    address => $_->address() }) for @agents;
$d->wait_instances('mcp', sub { 3 == grep { $_->{state} eq 'running'
    && $_->{health} eq 'healthy' } @_ }, 30);
ok(wait_for(sub { 3 == keys %{ { map { mcp('') => 1 } 1 .. 6 } } }, 10),
    'mcp: three instances');

my ($agent) = mcp('say=Mcp-Session-Id:s-1');
is(scalar(grep { mcp('', 'Mcp-Session-Id: s-1') ne $agent } 1 .. 6), 0,
    'mcp: a session stays');

# the assistant: killed, and its client does not notice

mkdir "$dir/assistant";
mkdir "$dir/common";
mkdir "$dir/docs";
mkdir "$dir/state";
for my $file (map { s{.*/agents/}{}r } glob
    "$Test::Corral::ROOT/deploy/agents/{common,assistant}/*.py")
{
    system('cp', "$Test::Corral::ROOT/deploy/agents/$file", "$dir/$file") == 0
        or die "$file: not copied\n";
    chmod 0755, "$dir/$file";
}
system('cp', "$Test::Corral::ROOT/docs/affinity.md", "$dir/docs/");
chmod 0644, glob "$dir/docs/*";
chmod 0755, "$dir/assistant", "$dir/common", "$dir/docs";
chmod 0777, "$dir/state";

my $assistant = example('assistant.yaml');
$assistant =~ s{/usr/share/corral/agents}{$dir} or die 'no agent';
$assistant =~ s{/usr/share/doc/corral}{$dir/docs} or die 'no documents';
$assistant =~ s{/var/lib/corral/assistant/key}{$dir/state/key} or die 'no key';
$assistant =~ s{/var/lib/corral/assistant}{$dir/state} or die 'no state';
apply('assistant', $assistant);

my @i = $d->wait_instances('assistant', sub { 2 == grep {
    $_->{state} eq 'running' && $_->{health} eq 'healthy' } @_ }, 40);
ok(wait_for(sub { 2 == keys %{ $s->counted('assistant') } }, 10),
    'assistant: two instances');

my $ws = $t->websocket('/agents/assistant/');
event($ws, 'user.create_session');
my $id = until_event($ws, 'agent.session_created')->{session_id};
ok($id, 'assistant: a session');
event($ws, 'user.message', $id, 'remember: the red barn');
until_event($ws, 'agent.final_answer');

my $n = $s->counted('assistant');
my ($victim) = grep { $n->{$_} } keys %$n;
my ($pid) = map { $_->{pid} } grep { $_->{instance_id} eq $victim } @i;
ok(kill('KILL', $pid), 'assistant: its instance is killed');

event($ws, 'user.message', $id, 'show my notes');
is((until_event($ws, 'agent.final_answer') // {})->{content},
    '1. the red barn', 'assistant: another one goes on');
is($ws->close(), 1000, 'assistant: closed');

$s->finish();

###############################################################################

sub example {
    my ($name) = @_;
    return slurp("../conf/services/$name");
}

sub apply {
    my ($name, $text) = @_;

    open my $f, '>', "$dir/$name.yaml" or die "$dir/$name.yaml: $!\n";
    print $f $text;
    close $f;

    my ($code, $out, $err) = $d->ctl('apply', '-f', "$dir/$name.yaml");
    is($code, 0, "$name: applied") or diag($out, $err);
}

sub mcp {
    my ($query, @headers) = @_;
    my $r = http_get("/agents/mcp/?$query", headers => \@headers);
    return $r =~ /^X-Agent: (\S+)\r$/m ? $1 : $r;
}

sub event {
    my ($ws, $name, $session, $text) = @_;
    $ws->send_text(encode_json({ event => $name,
        defined $session ? (session_id => $session) : (),
        defined $text ? (content => $text) : () }));
}

sub until_event {
    my ($ws, $name) = @_;
    while (defined(my $text = $ws->read_message(10))) {
        my $event = decode_json($text);
        return $event if $event->{event} eq $name;
    }
    return;
}
