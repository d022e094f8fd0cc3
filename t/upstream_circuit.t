#!/usr/bin/perl

# Tests for the circuit of a service and for its retry budget.

###############################################################################

use warnings;
use strict;

use IO::Select;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_metrics
    corral_websocket/);

my @agents = map { $t->agent(id => "echo.$_", port => 8080 + $_) } 1 .. 2;

my %services = (
    circuit => { circuit_failures => 4, circuit_timeout => '500ms' },
    passed  => { circuit_failures => 3, circuit_timeout => '60s' },
    none    => {},
    budget  => { retry_budget => 0 },
    wsbudget => { retry_budget => 0 },
    much    => { retry_budget => 100 },
);

$t->state_file(
    services => [ map { { name => $_, balance => 'round_robin',
        max_fails => 0, %{ $services{$_} } } } sort keys %services ],
    instances => [ map {
        my $service = $_;
        map { $agents[$_]->instance($service, id => "$service." . ($_ + 1),
            priority => $service =~ /budget|much/ ? $_ : 0) } 0, 1
    } sort keys %services ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(37);

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
        proxy_buffering      off;
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

        location = /metrics {
            corral_service  off;
            corral_metrics;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# four tries fail: two requests with two instances

is(code(http_get('/?service=circuit')), 200, 'all is well');
is(service('circuit')->{circuit}, 'closed', 'the circuit is closed');

$_->refuse() for @agents;

is(code(http_get('/?service=circuit')), 502, 'refused');
is(service('circuit')->{circuit}, 'closed', 'two are not enough');
is(code(http_get('/?service=circuit')), 502, 'refused again');

my $s = service('circuit');

is($s->{circuit}, 'open', 'it is open');
is($s->{failures}, 4, 'after four failures');

my $r = http_get('/?service=circuit');

is(code($r), 503, 'not tried');
like($r, qr/^Retry-After: 1\r$/m, 'when to come back');
is(http_body($r, json => 1)->{code}, 'circuit_open', 'the code');
like(http_body($r, json => 1)->{detail}, qr/service "circuit" failed 4 times/,
    'why');
is(service('circuit')->{failures}, 4, 'really not');
like(http_get('/metrics'), qr/^corral_service_circuit_open\{service="circuit"\}
    \ 1$(?s:.*)^corral_service_circuit_opened_total\{service="circuit"\}\ 1$/mx,
    'metrics');
like($t->read_file('error.log'),
    qr/\[warn\].*service "circuit" fail, its circuit/, 'logged');

# a WebSocket is refused in the same way

$r = http_get('/?service=circuit', until => qr/\}/, headers => [
    'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==' ]);

like($r, qr/ 503 .*"code":"circuit_open"/s, 'a handshake');

# its time is over: one request tries, fails, and opens it again

ok(wait_for(sub { code(http_get('/?service=circuit')) == 502 }), 'tried');
is(code(http_get('/?service=circuit')), 503, 'one only');
is(service('circuit')->{ejections}, 2, 'open again');

# the next one gets an answer

$_->listen() for @agents;

ok(wait_for(sub { code(http_get('/?service=circuit')) == 200 }), 'answered');
is(service('circuit')->{circuit}, 'closed', 'closed');
is(code(http_get('/?service=circuit')), 200, 'for all');

# answers that nginx passes count, one that is good in between begins anew

$agents[$_]->set(mode => 500) for 0, 1;
http_get('/?service=passed') for 1, 2;
$agents[$_]->set(mode => 'ok') for 0, 1;
http_get('/?service=passed');
$agents[$_]->set(mode => 500) for 0, 1;
is(join(' ', map { code(http_get('/?service=passed')) } 1 .. 4),
    '500 500 500 503', 'three in a row');
is(join(' ', map { code(http_get('/?service=none')) } 1 .. 6),
    join(' ', (500) x 6), 'never by default');
$agents[$_]->set(mode => 'ok') for 0, 1;

# budget: all try echo.1 first, which refuses, then echo.2, which says nothing

$agents[0]->refuse();

my @held = map { hang('budget') } 1 .. 5;

ok(wait_for(sub { service('budget')->{budget} == 2 }), 'two are refused');
is(service('budget')->{retrying}, 3, 'three are under way');
is(scalar(grep { answered($_) } @held), 2, 'their clients know');
close $_ for @held;
ok(wait_for(sub { service('budget')->{retrying} == 0 }), 'given back');

@held = map { hang('much') } 1 .. 6;
ok(wait_for(sub { service('much')->{retrying} == 6 }), 'all retry');
is(service('much')->{budget}, 0, 'none is refused');
close $_ for @held;
ok(wait_for(sub { service('much')->{active} == 0 }), 'ended');

# handshakes: the same

@held = map { hang('wsbudget', 'Connection: Upgrade', 'Upgrade: websocket',
    'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==')
} 1 .. 5;

ok(wait_for(sub { 2 == grep { answered($_) } @held }), 'two handshakes fail');
is(service('wsbudget')->{retrying}, 3, 'three handshakes retry');
is(service('wsbudget')->{budget}, 2, 'two are refused, counted once');
close $_ for @held;
ok(wait_for(sub { service('wsbudget')->{retrying} == 0 }), 'given back, too');

# a retry that has its answer is one no more, however long the answer is

@held = ();

for my $n (1 .. 5) {
    push @held, http("GET /sse?service=budget HTTP/1.1\r\nHost: a\r\n\r\n",
        start => 1);
    wait_for(sub { my $s = service('budget');
        $s->{active} == $n && $s->{retrying} == 0 });
}

is(service('budget')->{active}, 5, 'all stream');
ok(wait_for(sub { service('budget')->{retrying} == 0 }), 'no retry any more');
is(service('budget')->{budget}, 2, 'no more is refused');
close $_ for @held;

###############################################################################

sub service {
    my ($name) = @_;
    my ($service) = grep { $_->{name} eq $name } @{ $t->status()->{services} };
    return $service;
}

sub code {
    return $_[0] =~ m{^HTTP/1.1 (\d+)} ? $1 : 0;
}

sub hang {
    my ($service, @headers) = @_;
    return http(join("\r\n", "GET /hang?service=$service HTTP/1.1", 'Host: a',
        @headers, '', ''), start => 1);
}

sub answered {
    return IO::Select->new($_[0])->can_read(0);
}

###############################################################################
