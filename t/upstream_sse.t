#!/usr/bin/perl

# Tests for server-sent events: each event passes at once, and the end of either
# side reaches the other.

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

my $t = Test::Corral->new()->has(qw/corral corral_status/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(11);

%%TEST_GLOBALS%%

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

        location / {
            corral_service_from  path;
            proxy_pass           http://agents;
            proxy_http_version   1.1;
            proxy_set_header     Connection "";
            proxy_buffering      off;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# events come one by one: the second is sent 50 ms after the first

my $s = http("GET /agents/echo/sse HTTP/1.1\r\nHost: localhost\r\n"
    . "Last-Event-ID: 41\r\n\r\n", start => 1);

my $first = http_read($s, until => qr/data: .*\n\n/);

like($first, qr{^content-type: text/event-stream\r$}mi, 'type kept');
like($first, qr/^cache-control: no-store\r$/mi, 'header kept');
like($first, qr/id: 1\n/, 'first event');
unlike($first, qr/id: 2\n/, 'alone');
like(($agent->requests())[-1], qr/^last-event-id: 41\r$/mi,
    'last-event-id reaches the agent');

is($t->counts()->{'echo.1'}, 1, 'stream is counted');

# the client ends it: the agent hears of it

close $s;
ok(wait_for(sub { $agent->stats()->{open} == 0 }), 'agent is disconnected');
is($t->wait_for_counts({ 'echo.1' => 0 })->{'echo.1'}, 0, 'given back');

# the agent ends it

my $all = http_get('/agents/echo/sse?n=3');
is(join(',', http_body($all) =~ /^id: (\d+)$/mg), '1,2,3', 'whole stream');

# the agent dies in the middle: the client sees an end, not a hang

$s = http("GET /agents/echo/sse HTTP/1.1\r\nHost: localhost\r\n\r\n",
    start => 1);
http_read($s, until => qr/id: 1/);
$agent->drop('reset');
unlike(http_read($s), qr/\r\n0\r\n\r\n\z/, 'cut stream does not look whole');
is($t->wait_for_counts({ 'echo.1' => 0 })->{'echo.1'}, 0, 'given back, too');

###############################################################################
