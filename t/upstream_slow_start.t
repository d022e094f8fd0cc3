#!/usr/bin/perl

# Tests for slow_start: a new instance gets little at first, and what was there
# when the gateway started is not new.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_metrics
    corral_websocket/);

my @agents = map { $t->agent(id => "echo.$_", socket => "echo.$_.sock") } 1 .. 3;

my %services = (
    turn   => { slow_start => '60s' },
    least  => { slow_start => '60s', balance => 'least_conn' },
    hash   => { slow_start => '60s', balance => 'hash', hash_key => 'session' },
    at_once => {},
    quick  => { slow_start => '500ms' },
    capped => { slow_start => '8s', slow_start_rate => 2 },
);

state(1, 1, 2);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(23);

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
        corral_service_from  query;

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }

        location = /metrics {
            corral_service  off;
            corral_metrics;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# what is there is not new

is_deeply(many(20, 'turn'), { 'echo.1' => 10, 'echo.2' => 10 }, 'at the start');
is($t->instance('turn.1')->{ramp}, 1, 'not new');

# one more, and a service of which all is new

state(2, 1 .. 3);
$t->wait_for_revision(2);

my $began = $t->instance('capped.3')->{ramp};

cmp_ok($t->instance('turn.3')->{ramp}, '<', 0.3, 'it is new');
is($t->instance('turn.1')->{ramp}, 1, 'others are not');
like(http_get('/metrics'),
    qr/^corral_instance_ramp\{service="turn",instance="turn.3"\} 0\.[0-2]/m,
    'a metric');
is($t->instance('at_once.3')->{ramp}, 1, 'off without slow_start');
cmp_ok(many(30, 'at_once')->{'echo.3'}, '>=', 9, 'takes its share at once');

my $n = many(60, 'turn');

cmp_ok($n->{'echo.3'} // 0, '<', 12, 'in turn: gets little');
cmp_ok($n->{"echo.$_"}, '>', 20, "the rest is shared: $_") for 1, 2;

# by connections: it has none, and is not flooded

my @held = map { $t->websocket('/?service=least') } 1 .. 8;
my %of;
$of{$_->ask('!id')}++ for @held;

is_deeply(\%of, { 'echo.1' => 4, 'echo.2' => 4 }, 'least_conn: not yet');
$_->close() for @held;

# of a hash it gets some keys, the same ones each time

my @keys = map { "k$_" } 1 .. 60;
my %owner = map { $_ => got("hash&session_id=$_") } @keys;
my %again = map { $_ => got("hash&session_id=$_") } @keys;

cmp_ok(scalar(grep { $_ eq 'echo.3' } values %owner), '<', 12, 'hash: few keys');
cmp_ok(scalar(grep { $owner{$_} ne $again{$_}
    && $again{$_} ne 'echo.3' } @keys), '==', 0, 'which stay');

# only new ones: they are taken all the same, whatever the rate

$n = many(20, 'newborn');
is(($n->{'echo.1'} // 0) + ($n->{'echo.2'} // 0), 20, 'all are new');
is($t->instance('newborn.1')->{ramp} < 1, 1, 'they are');

# a reload does not begin anew, and does not end it

my $before = $t->instance('turn.3')->{ramp};

$t->reload();
$t->wait_for_revision(2);

my $after = $t->instance('turn.3')->{ramp};

cmp_ok($after, '>=', $before, 'goes on after a reload');
cmp_ok($after, '<', 0.9, 'and is not over');

# it ends

ok(wait_for(sub { $t->instance('quick.3')->{ramp} == 1 }), 'over');
is_deeply(many(30, 'quick'), { map { ("echo.$_" => 10) } 1 .. 3 },
    'takes its share');

# with a good part of its weight, but not more than two a second

ok(wait_for(sub { $t->instance('capped.3')->{ramp} > 0.4 }, 10), 'rises');
cmp_ok($t->instance('capped.3')->{ramp}, '>', $began, 'more than at first');

my $start = time();
$n = many(100, 'capped');
my $seconds = int(time() - $start) + 2;

cmp_ok($n->{'echo.3'}, '<=', 2 * $seconds, 'the rate is kept');
is($n->{'echo.1'} + $n->{'echo.2'} + $n->{'echo.3'}, 100, 'others take it');

###############################################################################

# all services with the agents of those numbers; later one whose two are new

sub state {
    my ($revision, @which) = @_;

    my %all = (%services, $revision > 1
        ? (newborn => { slow_start => '60s', slow_start_rate => 1 }) : ());

    $t->state_file(revision => $revision,
        services => [ map { { name => $_, balance => 'round_robin',
            %{ $all{$_} } } } sort keys %all ],
        instances => [ map {
            my $service = $_;
            map { $agents[$_ - 1]->instance($service, id => "$service.$_") }
                grep { $service ne 'newborn' || $_ < 3 } @which
        } sort keys %all ]);
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
