#!/usr/bin/perl

# What instances say of themselves: part of the weight, connections, drain and
# maint, by heartbeat and by agent_check over TCP and HTTP.  It reaches the
# gateway without a revision, is shown, and expires.

###############################################################################

use warnings;
use strict;

use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
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

$t->plan(27 + 3);
$s->start(2, 'path query');

###############################################################################

my %agents = map { my $n = $_; ("e$n" => $t->agent(id => "e$n",
    port => 8090 + $n)) } 1 .. 2;

$d->api('POST', '/services', { name => 'ext', desired => 'running',
    balance => 'random', affinity => 'session' });
$d->api('POST', '/services/ext/instances', { instance_id => "e$_",
    address => '127.0.0.1:' . port(8090 + $_), ttl => '1h',
    health => 'healthy' }) for 1 .. 2;

ok(wait_for(sub { http_get('/agents/ext/') =~ / 200 / }, 10), 'served');

# the first heartbeat heals, which is a change

beat('e1', 'ready');
beat('e2', 'ready');
said('e2', '100/0/ready');
# part of the weight: 20 percent of the half that falls to it; 400 draws, six
# standard deviations

beat('e1', '20% maxconn:50 #busy');
is(said('e1', '20/50/ready'), '20/50/ready', 'its words arrive');

my %n = (e1 => 0, e2 => 0);
$n{ask("/agents/ext/")}++ for 1 .. 400;
cmp_ok(abs($n{e1} - 40), '<=', 36, "20 percent of its draws: $n{e1}");
is($n{e1} + $n{e2}, 400, 'the others go elsewhere');
my $revision = revision();
beat('e1', '20% maxconn:50 #busy') for 1 .. 10;
is(revision(), $revision, 'without a revision');
is($d->api('GET', '/instances/e1')->{load}{agent}, '20% maxconn:50 #busy',
    'REST shows it');
is(corral('ps', 'ext') =~ /20% maxconn:50/ ? 1 : 0, 1, 'corral ps')
    or diag(corral('ps', 'ext'));
like(http_get('/metrics'), qr/^corral_instance_reported_weight\{service="ext",
    instance="e1"\}\ 0\.20$/mx, 'metrics');

# connections

beat('e1', 'maxconn:1');
beat('e2', 'drain');
said('e1', '100/1/ready');
said('e2', '100/0/drain');
my $ws = $t->websocket('/agents/ext/');
is($ws->ask('hello'), 'hello', 'one connection');
is($t->counts()->{e1}, 1, 'is with the one that takes it');
is(ask('/agents/ext/'), 503, 'it is full, the other one drains');
is($ws->close(), 1000, 'closed');
ok(wait_for(sub { ask('/agents/ext/') eq 'e1' }, 5), 'a place again');

# sessions stay with who drains, and leave who is out

beat('e1', 'drain');
beat('e2', 'ready');
said('e1', '100/0/drain');
said('e2', '100/0/ready');
is(ask('/agents/ext/?session_id=s'), 'e2', 'a session');
beat('e2', 'drain');
beat('e1', 'ready');
said('e2', '100/0/drain');
said('e1', '100/0/ready');
is(ask('/agents/ext/?session_id=s'), 'e2', 'stays with who drains');
beat('e2', 'maint');
said('e2', '100/0/out');
is(ask('/agents/ext/?session_id=s'), 'e1', 'not with who is out');

# a heartbeat without words takes them back; nonsense is refused

$d->api('PUT', '/instances/e2/heartbeat', { status => 'pass' });
is(said('e2', ''), '', 'nothing is said any more');
my $r = $d->api('PUT', '/instances/e1/heartbeat', { agent => 'half' });
is($d->{http}, 422, 'no word');
like($r->{errors}[0]{detail}, qr/has the word "half", it can have: N%/,
    'is named');

# agent_check: a line by TCP, of an instance that corrald runs

my $line = 'ready 30%';
my $listen = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1')
    or die "listen: $!\n";

my ($pid, $tell) = talker();
$s->echo('mine', 1, readiness_probe => { type => 'agent_check',
    port => $listen->sockport(), interval => '500ms', timeout => '2s' });
my ($mine) = $d->instances('mine');
my $id = $mine->{instance_id};

is(said($id, '30/0/ready'), '30/0/ready', 'a line by TCP');
is($d->api('GET', "/instances/$id")->{load}{agent}, 'ready 30%',
    'REST shows it, too');

print $tell "drain\n";
is(said($id, '100/0/drain'), '100/0/drain', 'it drains');
print $tell "down #no disk\n";
ok(wait_for(sub { $d->api('GET', "/instances/$id")->{health} eq 'unhealthy' },
    15), 'down is unhealthy');
like($d->api('GET', "/instances/$id")->{message}, qr/down #no disk/,
    'with its reason');
print $tell "up 60%\n";
is(said($id, '60/0/ready'), '60/0/ready', 'up again');

# who says nothing any more: the documents hold

close $listen;
kill 'KILL', $pid;
waitpid $pid, 0;
is(said($id, '', 20), '', 'its words expire');

# corrald is gone: so are the words it told

beat('e1', '50%');
said('e1', '50/0/ready');
$d->kill('KILL');
is(said('e1', '', 30), '', 'and with corrald those of all');
$d->start();

$s->finish();

###############################################################################

sub beat {
    my ($id, $words) = @_;
    $d->api('PUT', "/instances/$id/heartbeat",
        { status => 'pass', agent => $words });
    $d->{http} == 200 or die "heartbeat: $d->{http}\n";
}

# what the gateway knows, when it is what is waited for, or at the end

sub said {
    my ($id, $wanted, $seconds) = @_;

    my $last;

    wait_for(sub {
        my $i = $t->instance($id);
        my $report = $i && $i->{report};
        $last = $report ? join '/', @{$report}{qw/percent maxconn state/}
            : $i ? '' : 'no instance';
        $last eq $wanted;
    }, $seconds // 10);

    return $last;
}

sub ask {
    my ($uri) = @_;
    my $r = http_get($uri);
    return $r =~ m{^HTTP/1.1 200 } ? http_body($r, json => 1)->{agent}
        : $r =~ m{^HTTP/1.1 (\d+)} ? $1 : $r;
}

sub revision { $d->api('GET', '/info')->{store}{revision} }

sub corral {
    my (@args) = @_;

    local $ENV{CORRAL_API} = "http://127.0.0.1:$d->{port}";
    local $ENV{CORRAL_TOKEN} = $d->{token};

    return scalar qx{$build/corral @args 2>&1};
}

# says its line to whoever connects; a new line comes by the pipe

sub talker {
    pipe my $in, my $out or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";

    if ($pid) {
        close $in;
        $out->autoflush(1);
        return ($pid, $out);
    }

    close $out;
    my $select = IO::Select->new($listen, $in);

    while (1) {
        for my $fh ($select->can_read()) {
            if ($fh == $in) {
                sysread($in, my $buf, 200) or POSIX::_exit(0);
                chomp($line = $buf);

            } else {
                my $c = $listen->accept() or next;
                print $c "$line\n";
                close $c;
            }
        }
    }
}

###############################################################################
