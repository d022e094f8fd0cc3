#!/usr/bin/perl

# The WebSockets of the whole cluster, of real workers: listed and closed by
# filters, counted before that, and reached in an old worker that has been idle
# for half a minute after a reload.

###############################################################################

use warnings;
use strict;

use Test::More;
use JSON::PP;
use POSIX qw/strftime/;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

my $ctl = ($ENV{CORRAL_BUILD} // "$Test::Corral::ROOT/build/"
    . ($ENV{KIND} // 'release')) . '/corral';

$t->plan(62 + 3);
$s->start(3);

###############################################################################

my @i = map { $_->{instance_id} } $s->echo('echo', 2);
$s->echo('other', 1);

# four with sessions, spread over workers; one of another service

my %ws = map { $_ => open_ws("/?service=echo&session_id=$_") } qw/a b c d/;
my $other = open_ws('/agents/other/');

ok(wait_for(sub { total('') == 5 }, 15), 'all are listed');
is(total('service=echo'), 4, 'by service');
is(total('session_id=b'), 1, 'by session');
is(total("instance_id=$i[0]") + total("instance_id=$i[1]"), 4, 'by instance');
is(total('client_ip=127.0.0.1'), 5, 'by address');
is(total('client_ip=127.0.0.2'), 0, 'of nobody');
is(total('tenant=acme'), 0, 'by tenant');
is(total('age=1h'), 0, 'none is so old');
is(total('service=echo&limit=1'), 4, 'the total is true on a page of one');

$d->api('GET', '/connections?idle=long');
is($d->{http}, 400, 'a wrong filter is refused');
$d->api('GET', '/connections?session_id=');
is($d->{http}, 400, 'so is an empty one');

# what would be done

for ([ { service => 'echo' }, 4 ], [ { session_id => 'c' }, 1 ],
    [ { client_ip => '127.0.0.1' }, 5 ], [ { tenant => 'acme' }, 0 ],
    [ { subject => 'ann' }, 0 ], [ { age => '1h' }, 0 ], [ { age => '0' }, 5 ],
    [ { service => 'echo', session_id => 'a', instance_id => 'x' }, 0 ])
{
    my $r = close_by($_->[0], dry_run => JSON::PP::true);
    is($r->{matched}, $_->[1], 'would match: ' . encode_json($_->[0]));
}

is($ws{a}->ask('still'), 'still', 'and nothing was done');

# idle: the one that has spoken is not

my $start = time();
wait_for(sub { $ws{b}->ask('x'); time() - $start > 2.2 }, 4);
my $r = close_by({ service => 'echo', idle => '2s' }, dry_run => JSON::PP::true);
is($r->{matched}, 3, 'idle ones');
ok(wait_for(sub { total('service=echo&idle=2s') == 3 }, 15), 'the list agrees');
is(total('age=2s'), 5, 'age is not idleness');

# closed, by several conditions, with code and reason

$r = close_by({ service => 'echo', session_id => 'c' }, code => 4001,
    reason => 'moved on');
is("$r->{matched} $r->{closed} $r->{sent}", '1 1 1', 'one was closed');
is("$r->{answered} @{ $r->{missing} } @{ $r->{errors} }", '3  ',
    'all workers answered');
is($ws{c}->close_code(), 4001, 'its code');
is($ws{c}->close_reason(), 'moved on', 'its reason');
ok(wait_for(sub { total('') == 4 }, 15), 'no longer listed');

# in the middle of a message of the agent no frame can be sent: it is said

my $agent = $t->agent(id => 'ext', port => 8081);
$d->api('POST', '/services', { name => 'ext', desired => 'running',
    replicas => 0, close_timeout => '500ms' });
$d->api('POST', '/services/ext/instances', { instance_id => 'ext.1',
    address => $agent->address(), ttl => '1h' });
ok(wait_for(sub { http_get('/agents/ext/') =~ m!^HTTP/1.1 200! }, 5), 'another agent');
my $half = open_ws('/agents/ext/');
$agent->push_raw(pack('CCn', 0x81, 126, 1000) . 'x' x 10);
$r = close_by({ service => 'ext' });
is("$r->{matched} $r->{closed} $r->{sent}", '1 1 0', 'closed without a frame');
is($half->close_code(), 1006, 'and got none');

$r = close_by({});
is($d->{http}, 422, 'everything needs all');
like(encode_json($r), qr/say \\"all\\": true/, 'and that is said');

# a token that ends at another time; the leeway is 30 s, and so is the wait below

my $bound = open_ws('/agents/other/');
my $id;
ok(wait_for(sub {
    ($id) = map { $_->{connection_id} }
        grep { $_->{client_port} == $bound->socket()->sockport() }
        @{ $d->api('GET', '/connections?service=other')->{items} // [] };
}, 5), 'a connection');
is(renew($id, 3600), 200, 'renewed for an hour');
ok(wait_for(sub { ($d->api('GET', "/connections?connection_id=$id")
    ->{items}[0]{expires_at} // '') =~ /^20.*Z$/ }, 3), 'it shows');
is(renew($id, -5), 422, 'not into the past');
is(renew('00c0ffee00000001', 60), 404, 'nor what is not there');
is(renew($id, 1), 200, 'renewed for a second');

# after a reload: an old worker that has been idle

$t->reload();
ok(wait_for(sub { $t->workers(1) > 0 }, 5), 'old workers stay');
$start = time();
wait_for(sub {
    $_->read_message(0.02) for @ws{qw/a b d/}, $other, $bound;  # answer pings
    time() - $start > 30
}, 40);
cmp_ok(scalar $t->workers(1), '>', 0, 'half a minute later, too');
is($ws{a}->ask('hello'), 'hello', 'an old worker still echoes');
is(total('service=echo'), 3, 'its connections are still listed');

is($bound->close_code(), 4401, 'the token has ended there');

my $new = open_ws('/?service=echo&session_id=new');

ok(wait_for(sub { total('service=echo') == 4 }, 15), 'and a new one');
$r = close_by({ service => 'echo' }, code => 1012);
is("$r->{matched} $r->{closed} $r->{sent}", '4 4 4', 'of old and new workers');
is($_->close_code(), 1012, 'closed') for @ws{qw/a b d/}, $new;
$_->disconnect() for @ws{qw/a b d/}, $new;

ok(wait_for(sub {
    5 == (map { $_->{closes_forced} } grep { $_->{name} eq 'echo' }
        @{ $t->status()->{services} })[0]
}, 3), 'counted as forced');

$other->close();
$start = time();
ok(wait_for(sub { !$t->workers(1) }, 5), 'old workers go');
cmp_ok(time() - $start, '<', 1, 'within a second of the last connection');

# the command line

my @cli = map { open_ws("/?service=echo&session_id=cli$_") } 1 .. 3;
ok(wait_for(sub { total('') == 3 }, 15), 'three more');
like(ctl('connections', '--session', 'cli2', '-o', 'json'),
    qr/"session_id": ?"cli2"/, 'corral connections');
like(ctl('close', '--service', 'echo', '--dry-run'), qr/^3 connections match/m,
    'corral close --dry-run');
like(ctl('close', '--service', 'echo'), qr/needs --yes/, 'asks');
like(ctl('close', '--yes'), qr/--all/, 'everything needs --all');
like(ctl('close', '--service', 'echo', '--session', 'cli1', '--yes'),
    qr/^1 closed, 1 of them got the close frame/m, 'corral close');
is($cli[0]->close_code(), 1000, 'closed');
ok(wait_for(sub { total('') == 2 }, 15), 'two are left');
like(ctl('close', '--all', '--yes', '--code', '1012'),
    qr/^2 closed, 2 of them/m, 'corral close --all');

$s->finish();

###############################################################################

sub open_ws {
    my ($path) = @_;
    my $ws = $t->websocket($path, timeout => 10);
    die 'no handshake: ' . $ws->head() unless $ws->accepted();
    $ws->ask('!id');
    return $ws;
}

# Of lists that are written once a second and read once a second; that of a
# worker which could not take leave goes with its lease, after ten seconds.

sub total {
    my ($query) = @_;
    return $d->api('GET', "/connections?$query")->{total} // -1;
}

sub close_by {
    my ($filter, %more) = @_;
    return $d->api('POST', '/connections/actions/close',
        { filter => $filter, %more });
}

sub renew {
    my ($id, $seconds) = @_;
    $d->api('POST', "/connections/$id/actions/renew",
        { expires_at => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time() + $seconds)) });
    return $d->{http};
}

sub ctl {
    my (@args) = @_;
    local $ENV{CORRAL_API} = "http://127.0.0.1:$d->{port}";
    local $ENV{CORRAL_TOKEN} = $d->{token};
    my $pid = open my $fh, '-|' or do {
        open STDIN, '<', '/dev/null';
        open STDERR, '>&', \*STDOUT;
        exec $ctl, @args;
        die "$ctl: $!\n";
    };
    local $/;
    return scalar <$fh>;
}

###############################################################################
