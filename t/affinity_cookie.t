#!/usr/bin/perl

# Tests for affinity by cookie: the gateway names the instance in a cookie that
# it signs, and the client comes back to it.

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

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my @agents = map { $t->agent(id => "a.$_", socket => "a.$_.sock") } 1 .. 3;
my $revision = 0;

state();
$t->write_file('secret', "0123456789abcdef\n");
$t->write_file('short', "0123456789abcde\n");

$t->write_file_expand('nginx.conf', my $conf = <<'EOF')->plan(31);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone             corral 4m;
    corral_state_file       %%TESTDIR%%/gateway.state;
    corral_affinity_secret  secret;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        corral_service_from  query;

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF

for (['short', qr/has 15 bytes, it must have 16 to 1024/],
    ['missing', qr/corral_affinity_secret failed/])
{
    my ($ok, $out) = $t->test_config($conf =~ s/secret;/$_->[0];/r);
    like($out, $_->[1], "secret: $_->[0]");
}

$t->run()->wait_for_revision(1);

###############################################################################

# a new client gets one, and comes back to the same instance

my ($agent, $cookie, $line) = get();

like($line, qr/^corral-affinity-one=\Q$agent\E:1\.[0-9a-f]{32};\ Path=\/;
    \ HttpOnly;\ SameSite=Lax$/x, 'cookie');
is_deeply(many(12, $cookie), { $agent => 12 }, 'always the same');
is((get($cookie))[2], undef, 'it is not set again');
is(keys %{ many(12) }, 3, 'others go elsewhere');
is((get("x=1; $cookie; y=2"))[0], $agent, 'among other cookies');

# WebSocket: on the 101

my $ws = $t->websocket('/?service=one');
my ($its) = ($ws->header('Set-Cookie') // '') =~ /^([^;]+)/;
my $id = $ws->ask('!id');
like($its // '', qr/^corral-affinity-one=\Q$id\E:1\./, 'WebSocket');

for (1 .. 5) {
    my $again = $t->websocket('/?service=one', headers => [ "Cookie: $its" ]);
    $again->ask('!id') eq $id && !$again->header('Set-Cookie') or $id = 'lost';
    $again->close();
}

isnt($id, 'lost', 'comes back to its instance');

# what the gateway has not signed is not believed

my ($other) = grep { $_ ne $agent } map { $_->id() } @agents;

for (['another instance', $cookie =~ s/=\Q$agent\E/=$other/r],
    ['another signature', $cookie =~ s/(.)$/$1 eq '0' ? '1' : '0'/er],
    ['no signature', $cookie =~ s/\.[0-9a-f]{32}$//r],
    ['empty', 'corral-affinity-one='],
    ['long', 'corral-affinity-one=' . 'a' x 3000 . '.' . 'b' x 32],
    ['of another service', (get(undef, 'two'))[1]
        =~ s/affinity-two/affinity-one/r])
{
    my ($what, $forged) = @$_;
    like((get($forged))[2] // '', qr/^corral-affinity-one=a\.\d:1\./,
        "not believed: $what");
}

# drains: its sessions go on, new ones do not come

state($agent => { state => 'draining' });
is_deeply(many(6, $cookie), { $agent => 6 }, 'a draining instance keeps it');
is(many(12)->{$agent}, undef, 'and gets nobody new');

my %all = map { $_->id() => { state => 'draining' } } @agents;
state(%all);
is_deeply(many(3, $cookie), { $agent => 3 }, 'also when all drain');
like(http_get('/?service=one'), qr/ 503 /, 'when nobody new gets in');

# out of routing: the session goes to another one, and stays there

state($agent => { state => 'paused' });
my ($next, $new) = get($cookie);
isnt($next, $agent, 'another one');
is_deeply(many(6, $new), { $next => 6 }, 'the cookie says so from then on');

# a process started anew does not know the session

state($next => { incarnation => 2 });
my ($after, $last) = get($new);
like($last // '', qr/^corral-affinity-one=/, 'another incarnation is another');

# an instance that does not answer

state();
($agent, $cookie) = get();
my ($down) = grep { $_->id() eq $agent } @agents;
$t->stop_daemon($down->pid());
($next, $new) = get($cookie);
isnt($next, $agent, 'a dead instance');
is_deeply(many(6, $new), { $next => 6 }, 'the new cookie holds');
isnt((get($cookie))[0], $agent, 'the old one does not lead back');

# limits go first

state(max_sessions => 1);
$ws = $t->websocket('/?service=one', headers => [ "Cookie: $new" ]);
is($ws->ask('!id'), $next, 'the one place is taken');
isnt((get($new))[0], $next, 'full: another one');
$ws->close();

# the secret outlives nginx

state();
$t->reload();
is((get($new))[0], $next, 'behind a reload');

my $status = (grep { $_->{name} eq 'one' } @{ $t->status()->{services} })[0];
cmp_ok($status->{affinity_hits}, '>', 30, 'hits are counted');
cmp_ok($status->{affinity_moves}, '>=', 4, 'and moves');

$t->stop();
$t->run()->wait_for_revision($revision);
is((get($new))[0], $next, 'behind a restart');

###############################################################################

sub state {
    my (%more) = @_;

    my %service = (affinity => 'cookie');
    $service{max_sessions} = delete $more{max_sessions} // 0;

    $t->state_file(revision => ++$revision,
        services => [ map { { name => $_, %service } } qw/one two/ ],
        instances => [ map({ $_->instance('one', %{ $more{$_->id()} // {} }) }
            @agents), $agents[0]->instance('two', id => 'b.1') ]);

    $t->wait_for_revision($revision) or die "No revision $revision\n"
        if $revision > 1;
}

# The agent that answers, the cookie that is set, or the one that was sent, and
# the whole of Set-Cookie.

sub get {
    my ($cookie, $service) = @_;

    $service //= 'one';

    my $r = http_get("/?service=$service",
        headers => [ $cookie ? "Cookie: $cookie" : () ]);
    my ($agent) = $r =~ /"agent":"([^"]+)"/ or return ('', '', $r);
    my ($line) = $r =~ /^Set-Cookie: (.*?)\r$/m;

    return ($agent, $line ? $line =~ s/;.*//r : $cookie, $line);
}

sub many {
    my ($n, $cookie) = @_;
    my %n;
    $n{ (get($cookie))[0] }++ for 1 .. $n;
    return \%n;
}
