#!/usr/bin/perl

# The canary of docs/canary.md, as it stands there: shares, who stays with what,
# force_by, promotion step by step with corral, a canary without a ready
# instance, the fallback, and what status and metrics say of it.

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

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();
my $build = $ENV{CORRAL_BUILD} // "$Test::Corral::ROOT/build/"
    . ($ENV{KIND} // 'release');

# A share of p of n people whose keys are hashed is binomial: six standard
# deviations are missed less than once in 10^8 runs.

my $people = 1000;

$t->plan(40 + 3);
$s->start(2, 'rules query');

###############################################################################

my %agents;

for my $name (qw/chat-stable chat-canary/) {
    my $port = 8090 + keys %agents;
    $agents{$name} = $t->agent(id => $name, port => $port);
    $d->api('POST', '/services', { name => $name, desired => 'running' });
    $d->api('POST', "/services/$name/instances", { instance_id => $name,
        address => '127.0.0.1:' . port($port), ttl => '1h',
        health => 'healthy' });
}

my ($yaml) = Test::Corral::Stack::slurp(
    "$Test::Corral::ROOT/docs/canary.md") =~ /^```yaml\n(.*?)^```/ms;

open my $fh, '>', $d->dir() . '/chat.yaml' or die;
print $fh $yaml;
close $fh;

is(corral('apply', '-f', $d->dir() . '/chat.yaml'), 0,
    'the example is applied');
applied();

# shares, and who stays with what

my %at5 = everybody();
my $canary = canary(\%at5);
near($canary, 0.05, '5 percent');
is(differ(\%at5, { everybody() }), 0, 'everybody stays with what he has got');

ok(counted(2 * $people), 'all are counted');
my $split = split_of('chat');
is($split->{targets}[1]{requests}, 2 * $canary, 'those of the canary');
cmp_ok(abs($split->{targets}[1]{share} * $people - $canary), '<', 0.2,
    'its share');
is("$split->{name} $split->{strategy} $split->{enabled} "
    . join(' ', map { "$_->{service}:$_->{weight}:$_->{ready}" }
    @{ $split->{targets} }),
    'chat hash_based 1 chat-stable:95:1 chat-canary:5:1', 'its shares');

# keys: the first that there is

my ($mine) = grep { $at5{$_} eq 'chat-canary' } sort keys %at5;
my ($other) = grep { $at5{$_} eq 'chat-stable' } sort keys %at5;

is(ask("/chat?session_id=$mine"), 'chat-canary', 'a session is a key');
is(ask("/chat?session_id=$other", "Cookie: uid=$mine"), 'chat-stable',
    'it stands before the cookie');
my $address = ask('/chat');
is(scalar(grep { ask('/chat') ne $address } 1 .. 20), 0,
    'without any: the address');

# forced

is(ask('/chat', "Cookie: uid=$other", 'X-Chat: chat-canary'), 'chat-canary',
    'forced by a header');
is(ask('/chat', "Cookie: uid=$mine; chat=chat-stable"), 'chat-stable',
    'forced by a cookie');
is(ask('/chat', "Cookie: uid=$mine; chat=chat-stable",
    'X-Chat: chat-canary'), 'chat-canary', 'the header stands first');
is(ask('/chat', "Cookie: uid=$mine", 'X-Chat: nonsense'), 'chat-canary',
    'nonsense forces nothing');
is(ask("/chat?chat=chat-canary", "Cookie: uid=$other"), 'chat-stable',
    'an argument is no header');

$d->api('POST', '/services', { name => 'secret', desired => 'running' });
my $secret = $t->agent(id => 'secret', port => 8095);
$d->api('POST', '/services/secret/instances', { instance_id => 'secret',
    address => '127.0.0.1:' . port(8095), ttl => '1h', health => 'healthy' });
applied();
is(ask('/x?service=secret'), 'secret', 'another service is there');
is(ask('/chat', "Cookie: uid=$other", 'X-Chat: secret'), 'chat-stable',
    'but is not a target');

my $ws = $t->websocket('/chat', headers => [ 'X-Chat: chat-canary' ]);
is($ws->ask('hello'), 'hello', 'a WebSocket');
is($t->counts()->{'chat-canary'}, 1, 'is with the canary');

# promotion: only the share that grows moves, and only towards the canary

my %before = %at5;

for my $step ([ 80, 20 ], [ 50, 50 ], [ 1, 999 ]) {
    my ($stable, $share) = @$step;
    is(corral('routes', 'set', 'chat',
        qq(weights={"chat-stable":$stable,"chat-canary":$share})), 0,
        "corral routes set: $stable to $share");
    applied();

    my %now = everybody();
    near(canary(\%now), $share / ($stable + $share), 'its share');
    is(scalar(grep { $before{$_} eq 'chat-canary'
        && $now{$_} ne 'chat-canary' } keys %now), 0, 'nobody is sent back');
    %before = %now;
}

ok(counted($people), 'counted from the last change on');

my ($metrics) = http_body(http_get('/metrics'))
    =~ /^corral_rule_requests_total\{rule="chat",service="chat-canary"\} (\d+)/m;
is($metrics, canary(\%before), 'metrics say the same');
like(http_get('/metrics'),
    qr/^corral_rule_weight\{rule="chat",service="chat-canary"\} 999$/m,
    'and the weights');

# back to 5: the same people as at first

corral('routes', 'set', 'chat',
    'weights={"chat-stable":95,"chat-canary":5}');
applied();
is(differ(\%at5, { everybody() }), 0, 'back: everybody as at the beginning');
is($ws->ask('still'), 'still', 'the WebSocket has stayed');
is($ws->close(), 1000, 'closed');

# a canary that is not ready, also for those who ask for it

$d->api('PATCH', '/instances/chat-canary', { maintenance => JSON::PP::true() });
ok(wait_for(sub { split_of('chat')->{targets}[1]{ready} == 0 }, 10),
    'the canary is taken out');
is(ask('/chat', "Cookie: uid=$mine"), 'chat-stable', 'its people go on');
is(ask('/chat', "Cookie: uid=$mine", 'X-Chat: chat-canary'), 'chat-stable',
    'also who asks for it');

# nothing is ready: the fallback

corral('routes', 'set', 'chat', 'fallback_service=secret');
$d->api('PATCH', '/instances/chat-stable', { maintenance => JSON::PP::true() });
wait_for(sub { split_of('chat')->{targets}[0]{ready} == 0 }, 10);
applied();
is(ask('/chat', "Cookie: uid=$mine"), 'secret', 'the fallback');
ok(wait_for(sub { 'secret 1' eq join ' ', map { "$_->{service} $_->{requests}" }
    grep { $_->{fallback} } @{ split_of('chat')->{targets} } }, 10),
    'is counted, too');

$d->api('PATCH', "/instances/$_", { maintenance => JSON::PP::false() })
    for qw/chat-stable chat-canary/;
wait_for(sub { 2 == grep { $_->{ready} } @{ split_of('chat')->{targets} }[0, 1]
    }, 10);
applied();
is(differ(\%at5, { everybody() }), 0, 'back again: everybody as before');

$s->finish();

###############################################################################

sub corral {
    my (@args) = @_;

    local $ENV{CORRAL_API} = "http://127.0.0.1:$d->{port}";
    local $ENV{CORRAL_TOKEN} = $d->{token};

    my $pid = fork // die "fork: $!\n";

    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $d->dir() . '/out';
        open STDERR, '>', $d->dir() . '/err';
        exec "$build/corral", @args;
        die;
    }

    waitpid $pid, 0;
    diag(Test::Corral::Stack::slurp($d->dir() . '/err')) if $?;

    return $? >> 8;
}

# both workers serve from the last revision

sub applied {
    my $revision = $d->api('GET', '/info')->{store}{revision};
    wait_for(sub {
        2 == grep { $_->{revision} >= $revision } $s->workers() }, 10)
        or die "revision $revision is not live\n";
}

sub ask {
    my ($uri, @headers) = @_;
    my $r = http_get($uri, headers => \@headers);
    return $r =~ m{^HTTP/1.1 200 } ? http_body($r, json => 1)->{agent}
        : $r =~ m{^HTTP/1.1 (\d+)} ? $1 : $r;
}

# everybody asks once

sub everybody {
    return map { $_ => ask('/chat', "Cookie: uid=$_") }
        map { "u$_" } 1 .. $people;
}

sub canary {
    my ($who) = @_;
    return scalar(grep { $_ eq 'chat-canary' } values %$who);
}

sub differ {
    my ($one, $two) = @_;
    return scalar(grep { $one->{$_} ne $two->{$_} } keys %$one);
}

sub near {
    my ($n, $p, $name) = @_;
    my $away = abs($n - $people * $p);
    cmp_ok($away, '<=', 6 * sqrt($people * $p * (1 - $p)) + 6,
        "$name: $n of $people");
}

# each worker tells its own once in a while

sub counted {
    my ($n) = @_;
    return wait_for(sub { split_of('chat')->{requests} == $n }, 10);
}

sub split_of {
    my ($name) = @_;
    return (grep { $_->{name} eq $name } @{ $t->status()->{splits} })[0];
}

###############################################################################
