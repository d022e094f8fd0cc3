#!/usr/bin/perl

# Tests for priorities: the first tier takes all, the next one what it cannot.

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

my $t = Test::Corral->new()->has(qw/corral corral_status corral_metrics/);

my @agents = map { $t->agent(id => "echo.$_", port => 8080 + $_) } 1 .. 4;

# each service has echo.1 and echo.2 of priority 0, echo.3 of 1, echo.4 of 5;
# what is given by number is of its instances

my @failed = (state => 'failed');
my @ill = (health => 'degraded');

my %services = (
    well      => {},
    half      => { 2 => { @failed } },
    key       => { 2 => { @failed }, balance => 'hash', hash_key => 'session' },
    stopping  => { 2 => { state => 'stopping' } },
    second    => { 1 => { @failed }, 2 => { @failed } },
    last      => { 1 => { @failed }, 2 => { @failed }, 3 => { @failed } },
    unhealthy => { 1 => { health => 'unhealthy' } },
    degraded  => { 1 => { @ill }, 2 => { @ill }, 3 => { @ill } },
    any       => { 2 => { @failed }, spill_threshold => 0 },
    every     => { 2 => { @failed }, spill_threshold => 100 },
    refused   => { fail_timeout => '60s' },
    full      => { max_sessions => 1 },
);

$t->state_file(
    services => [ map { { name => $_, service_fields($_) } }
        sort keys %services ],
    instances => [ map { instances($_) } sort keys %services ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(24);

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
        proxy_set_header     Connection close;
        corral_service_from  query;

        location / {
            proxy_pass  http://agents;
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

is_deeply(many(20, 'well'), { 'echo.1' => 10, 'echo.2' => 10 },
    'the first tier');
is(shares('well'), '0:2/2:1.000 1:1/1:0.000 5:1/1:0.000', 'as status says');
is($t->instance('well.4')->{priority}, 5, 'of an instance');

# one of two failed: 50 of 70 percent stay

is(shares('half'), '0:1/2:0.714 1:1/1:0.286 5:1/1:0.000', 'half of it spills');
like(http_get('/metrics'),
    qr/^corral_service_tier_share\{service="half",priority="1"\} 0\.286$/m,
    'a metric');

my $n = many(200, 'half');

cmp_ok($n->{'echo.1'}, '>', 115, 'most stay');
cmp_ok($n->{'echo.1'}, '<', 170, 'not all');
is($n->{'echo.1'} + $n->{'echo.3'}, 200, 'the next tier has the rest');

# a key stays on its tier

my %of = map { $_ => got("key&session_id=$_") } 'a' .. 'z';
is_deeply({ map { $_ => got("key&session_id=$_") } 'a' .. 'z' }, \%of,
    'hash: stable');
is(join(' ', sort keys %{ { reverse %of } }), 'echo.1 echo.3',
    'hash: on two tiers');

# one that is to end is not missed

is(shares('stopping'), '0:1/1:1.000 1:1/1:0.000 5:1/1:0.000', 'scaled down');

# all of a tier are gone: the next one, and then the last

is_deeply(many(6, 'second'), { 'echo.3' => 6 }, 'the second tier');
is(shares('second'), '1:1/1:1.000 5:1/1:0.000', 'takes all');
is_deeply(many(6, 'last'), { 'echo.4' => 6 }, 'the last tier');

# with one that is not healthy the tier has less; degraded ones come last of all

is(shares('unhealthy'), '0:1/2:0.714 1:1/1:0.286 5:1/1:0.000', 'unhealthy');
is_deeply(many(6, 'degraded'), { 'echo.4' => 6 }, 'healthy before preferred');

# the service says how many are enough

is_deeply(many(10, 'any'), { 'echo.1' => 10 }, 'threshold 0: one is enough');
is(shares('every'), '0:1/2:0.500 1:1/1:0.500 5:1/1:0.000',
    'threshold 100: all are');

# max_sessions: a full tier spills, too

my @held = map { http("GET /hang?service=full HTTP/1.1\r\nHost: a\r\n\r\n",
    start => 1) } 1 .. 3;
$t->wait_for_counts({ map { ("full.$_" => 1) } 1 .. 3 });
is(got('full'), 'echo.4', 'the first tiers are full');
close $_ for @held;

# what the gateway sees itself: ejected ones hand over to the next tier, whose
# refusal hands over to the next again

$agents[$_]->refuse() for 0, 1;

is_deeply(many(10, 'refused'), { 'echo.3' => 10 }, 'the first tier refuses');
is($t->instance("refused.$_")->{availability}, 'ejected', "ejected: $_")
    for 1, 2;

$agents[2]->refuse();
is_deeply(many(10, 'refused'), { 'echo.4' => 10 }, 'the second, too');

# all are ejected: then they are tried in their order

$agents[3]->refuse();
many(2, 'refused');
$agents[$_]->listen() for 0 .. 3;

like(got('refused'), qr/^echo\.[12]$/, 'no rest when nothing else is left');

###############################################################################

sub service_fields {
    my ($name) = @_;
    my %given = %{ $services{$name} };
    return (balance => 'round_robin',
        map { ($_ => $given{$_}) } grep { /\D/ } keys %given);
}

sub instances {
    my ($name) = @_;
    my @priority = (0, 0, 1, 5);

    return map { $agents[$_ - 1]->instance($name, id => "$name.$_",
        priority => $priority[$_ - 1], %{ $services{$name}{$_} // {} })
    } 1 .. 4;
}

sub shares {
    my ($name) = @_;
    my ($service) = grep { $_->{name} eq $name } @{ $t->status()->{services} };

    return join ' ', map { sprintf '%d:%d/%d:%.3f',
        @$_{qw/priority ready total share/} } @{ $service->{tiers} };
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
