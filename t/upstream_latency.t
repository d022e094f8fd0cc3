#!/usr/bin/perl

# Tests for the method ewma: what answers slowly gets less, what fails fast does
# not get more, and a WebSocket that lasts is not slow.

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

my $t = Test::Corral->new()->has(qw/corral corral_status corral_metrics
    corral_websocket/);

my @agents = map { $t->agent(id => "echo.$_", port => 8080 + $_) } 1 .. 3;

$t->state_file(
    services => [ map { { name => $_, balance => 'ewma', max_fails => 0 } }
        qw/slow busy broken refused lasting/ ],
    instances => [ map {
        my $service = $_;
        map { $_->instance($service, id => $_->id() =~ s/echo/$service/r) }
            @agents
    } qw/slow busy broken refused lasting/ ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(19);

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

        # newer nginx keeps connections unless told otherwise, and these agents
        # refuse only new ones

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
            proxy_set_header  Connection close;
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

is($t->instance('slow.1')->{latency_ms}, undef, 'nothing is known at first');

# one is slow: once that is known it is chosen no more, on any worker

$agents[1]->set(delay => 0.4);

my $n = many(40, 'slow');

cmp_ok($n->{'echo.2'} // 0, '<=', 2, 'the slow one gets little');

# one that a busy machine has held up for a moment is slow, too, for a while

ok(wait_for(sub {
    $n = many(40, 'slow');
    ($n->{'echo.1'} // 0) >= 10 && ($n->{'echo.3'} // 0) >= 10
}, 30), 'the others share all of it');

ok(wait_for(sub { got('slow'); defined $t->instance('slow.2')->{latency_ms} }),
    'the slow one has been asked');

my $ms = $t->instance('slow.2')->{latency_ms};

cmp_ok($ms, '>', 20, 'its latency');
cmp_ok($ms, '<', 2000, 'in milliseconds');
cmp_ok($t->instance('slow.1')->{latency_ms}, '<', $ms, 'others are faster');

like(http_get('/metrics'), qr/^corral_instance_latency_seconds
    \{service="slow",instance="slow.2"\}\ [01]\.\d{3}$/mx, 'a metric, too');

$agents[1]->set(delay => 0);

# "busy" is fast, and no reason to come again

$agents[1]->set(mode => 429);
$n = many(40, 'busy');

cmp_ok($n->{429} // 0, '<=', 2, '429 attracts nothing');
is(($n->{'echo.1'} // 0) + ($n->{'echo.3'} // 0) + ($n->{429} // 0), 40,
    'the others answer');

$agents[1]->set(mode => 503);
$n = many(40, 'broken');

cmp_ok($n->{503} // 0, '<=', 2, '503 attracts nothing');
cmp_ok($t->instance('broken.2')->{latency_ms} // 5000, '>', 2000,
    'it costs more than a slow answer');
is($t->instance('broken.2')->{failures}, 0, 'what nginx passes is no failure');

$agents[1]->set(mode => 'ok');

# nor does a refused connection, even if it is never ejected

$agents[1]->refuse();
$n = many(40, 'refused');

is(($n->{'echo.1'} // 0) + ($n->{'echo.3'} // 0), 40, 'all are answered');
cmp_ok($t->instance('refused.2')->{failures}, '<=', 2, 'tried twice at most');
$agents[1]->listen();

# a WebSocket: the handshake counts, not how long it lasts

my @ws = map { $t->websocket('/?service=lasting') } 1 .. 6;
my $text = join ',', map { $_->ask('!id') } @ws;

like($text, qr/^(?:echo\.[123],?){6}$/, 'open');
is($_->ask('!delay 2500 x'), 'x', 'lasts') for $ws[0];
$_->close() for @ws;
$t->wait_for_counts({ map { ("lasting.$_" => 0) } 1 .. 3 });

my @latencies = grep { defined }
    map { $t->instance("lasting.$_")->{latency_ms} } 1 .. 3;

cmp_ok(scalar @latencies, '>=', 2, 'handshakes are samples');
is(scalar(grep { $_ > 2000 } @latencies), 0, 'the length of a session is not');

###############################################################################

# counts of who answered; a status that is not 200 counts as itself

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
