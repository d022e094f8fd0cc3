#!/usr/bin/perl

# Tests for ejection by comparison: too many failures, fewer successes than the
# others; how many are ejected, for how long; and which ends of a WebSocket are
# an agent's fault.

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

my @agents = map { $t->agent(id => "echo.$_", port => 8080 + $_) } 1 .. 6;

# three requests to each of six within an interval, also on a busy machine

my %fast = (eject_interval => '2s', eject_min_requests => 3,
    fail_timeout => '60s');

my %services = (
    percent => { %fast, eject_deviation => 0, eject_failure_percent => 60 },
    compare => { %fast, eject_failure_percent => 0 },
    never   => { %fast, max_fails => 0 },
    limit   => { fail_timeout => '60s', max_fails => 1, max_ejected => 34,
        tries => 6 },
    longer  => { fail_timeout => '200ms', max_fails => 1,
        eject_max_time => '300ms' },
    ends    => { max_fails => 0, close_timeout => '100ms' },
    late    => { max_fails => 0, close_timeout => '100ms', early_end => 0 },
);

$t->state_file(
    services => [ map { { name => $_, balance => 'round_robin',
        %{ $services{$_} } } } sort keys %services ],
    instances => [ map {
        my $service = $_;
        map { $agents[$_ - 1]->instance($service, id => "$service.$_") }
            $service =~ /ends|late/ ? 1 : $service eq 'longer' ? (1, 2) : 1 .. 6
    } sort keys %services ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(27);

%%TEST_GLOBALS%%

worker_processes  2;

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

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        proxy_next_upstream  error timeout http_503;
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

$t->run()->wait_for_revision(1);

###############################################################################

# one fails all that it gets: found out at the next look, others stay; nginx
# passes a 500, so that these are no failures of a try

$agents[0]->set(mode => 500);

ok(ejected('percent.1', 'percent'), 'by its failures');
is(states('percent'), 'ejected' . ' available' x 5, 'it alone');
is($t->instance('percent.1')->{failures}, 0, 'without a failed try');
cmp_ok($t->instance('percent.1')->{rest_ms}, '>', 30000, 'rests');
like($t->read_file('error.log'),
    qr/\[warn\].*"percent.1" of service "percent" fails too much/, 'logged');

ok(ejected('compare.1', 'compare'), 'by comparison');
is(states('compare'), 'ejected' . ' available' x 5, 'it alone, too');
like($t->read_file('error.log'), qr/"compare.1".* fails more than the others/,
    'logged why');

# max_fails 0 is: never

my $end = time() + 5;

many(12, 'never') while time() < $end;
cmp_ok(many(12, 'never')->{500}, '>', 0, 'for several intervals');
is(states('never'), join(' ', ('available') x 6), 'never means never');

$agents[0]->set(mode => 'ok');

# bad answers eject a part at most: 34 % of six are two

$_->set(mode => 503) for @agents[0 .. 3];

my $n = many(60, 'limit');

is(scalar(grep { $_ eq 'ejected' } split / /, states('limit')), 2, 'two of six');
is($n->{'echo.5'} + $n->{'echo.6'}, 60, 'clients do not notice');

# but who refuses is ejected

$_->set(mode => 'ok') for @agents[0 .. 3];
$agents[$_]->refuse() for 2 .. 5;

many(60, 'limit');
cmp_ok(scalar(grep { $_ eq 'ejected' } split / /, states('limit')), '>=', 4,
    'refused connections are another thing');

$agents[$_]->listen() for 2 .. 5;

# each time longer, up to the limit

$agents[0]->set(mode => 503);

ok(wait_for(sub {
    got('longer');
    $t->instance('longer.1')->{ejections} >= 3
}, 30), 'ejected three times');

my @rests = $t->read_file('error.log')
    =~ /instance "longer.1" .* rests for (\d+) ms/g;

cmp_ok($rests[0], '>=', 200, 'the first time');
cmp_ok($rests[0], '<=', 225, 'with an eighth by chance');
cmp_ok($rests[1], '>=', 300, 'longer');
cmp_ok($rests[2], '<=', 325, 'to the limit');

$agents[0]->set(mode => 'ok');

# WebSocket: a Close is no failure, an early end without one is

$t->websocket('/?service=ends')->close();
is(closed('ends', '!close 1000 bye'), 0, 'agent closes');
is(closed('ends', '!close 1011 oops'), 0, 'with an error, too');
is(closed('ends', '!drop'), 1, 'without a Close');
is(closed('ends', '!reset'), 2, 'reset');

# late: for this service any end is

is(closed('late', '!drop'), 0, 'a late end without a Close');
is(closed('late', '!reset'), 1, 'but not a lost connection');
is(closed('late', '!raw ff00'), 1, 'nor an error in the protocol, so late');

# a failed handshake is one as well

$agents[0]->set(mode => 500);
my $r = http_get('/?service=ends', until => qr/ 500 /, headers => [ 'Connection: Upgrade',
    'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==' ]);
like($r, qr/ 500 /, 'handshake failed');
is($t->instance('ends.1')->{failures}, 3, 'counted');

###############################################################################

# failures of the service's instance after a WebSocket that ended so

sub closed {
    my ($service, $how) = @_;

    my $ws = $t->websocket("/?service=$service");
    $ws->send_text($how);
    $ws->close_code();
    $ws->disconnect();
    $t->wait_for_counts({ "$service.1" => 0 });

    return $t->instance("$service.1")->{failures};
}

sub ejected {
    my ($id, $service) = @_;

    return wait_for(sub {
        many(12, $service);
        $t->instance($id)->{availability} eq 'ejected';
    }, 30);
}

sub states {
    my ($service) = @_;
    return join ' ', map { $t->instance("$service.$_")->{availability} } 1 .. 6;
}

sub many {
    my ($n, $service) = @_;
    my %count;
    $count{got($service)}++ for 1 .. $n;
    return \%count;
}

sub got {
    my ($service) = @_;
    my $r = http_get("/?service=$service");
    return $r =~ / 200 / ? http_body($r, json => 1)->{agent}
        : $r =~ m{^HTTP/1.1 (\d+)} ? $1 : 'none';
}

###############################################################################
