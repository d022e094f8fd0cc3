#!/usr/bin/perl

# Tests for WebSockets when nginx stops: quickly, or when
# worker_shutdown_timeout is over.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::WebSocket qw/:frames/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(15);

%%TEST_GLOBALS%%

worker_shutdown_timeout  1s;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    limit_conn_zone  $arg_who  zone=who:1m;

    log_format  stop  '$request_uri code=$corral_close_code '
                      'closed=$corral_close_sent';
    access_log  %%TESTDIR%%/stop.log  stop;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
            limit_conn           who 1;
        }

        location = /status { corral_status; access_log off; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# after worker_shutdown_timeout the old worker's connections get 1012; one in
# the middle of a message from the agent cannot, and is reset

my $ws = $t->websocket('/agents/echo/free');
my $kept = $t->websocket('/agents/echo/kept?who=me');
my $half = $t->websocket('/agents/echo/half');
is($_->ask('!id'), 'echo.1', 'there') for $ws, $kept;
$half->ask('!id');
$half->send_raw(substr $half->frame(TEXT, 'x' x 100), 0, 50);

my $start = time();
ok($t->reload(), 'reload');
is($ws->numbered(3), '', 'messages go on');

is($ws->close_code(5), 1012, 'client: 1012');
is($ws->close_reason(), 'gateway stops', 'and why');
is($kept->close_code(5), 1012, 'likewise where the request was kept');
is($half->close_code(5), 1012, 'and to one that had not ended its frame');
cmp_ok(time() - $start, '<=', 3, 'when the time is over');

my @closes = grep { $_ == 1001 } @{ $agent->stats()->{closes} };
is(scalar @closes, 2, 'agent: 1001, not inside a frame');

ok(wait_for(sub { !$t->workers(1) }, 5), 'old worker ends');
is(scalar(() = $t->read_file('stop.log') =~ / code=1012 closed=1$/mg), 3,
    'logged');
is($t->wait_for_counts({ 'echo.1' => 0 })->{'echo.1'}, 0, 'nothing is held');

# a fast stop says goodbye, too

$ws = $t->websocket('/agents/echo/fast');
$ws->ask('!id');
kill 'TERM', $t->workers();
is($ws->close_code(5), 1012, 'fast stop: 1012');
ok($t->wait_for_log(qr{^/agents/echo/fast code=1012 closed=1$}m, 'stop.log'),
    'logged, too');

###############################################################################
