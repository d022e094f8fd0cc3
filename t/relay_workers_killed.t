#!/usr/bin/perl

# Tests for the columns of workers in shared memory: more workers die than there
# are columns, and what the dead have counted comes back in none of those that
# take their place.  A column has thousands of slots, so it is cleared in slices.

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

my $agent = $t->agent(id => 'echo.1', port => 8081);

# those in front of the agent's have slots of their own; nobody connects there

$t->state_file(services => [ { name => 'many' }, { name => 'echo' } ],
    instances => [ (map { { id => "many.$_", service => 'many',
        address => "127.0.0.1:$_" } } 1 .. 600),
        $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(39);

%%TEST_GLOBALS%%

worker_processes  6;

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
            corral_websocket     agents;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# 12 x 6 workers: there are 64 columns

for my $round (1 .. 12) {
    my @ws = map { $t->websocket('/agents/echo/') } 1 .. 24;
    is($t->wait_for_counts({ 'echo.1' => 24 })->{'echo.1'}, 24,
        "round $round: those that live are counted");

    my @victims = $t->workers();
    $t->expect_alert(qr/worker process $_ exited on signal 9/) for @victims;
    kill 'KILL', @victims;

    ok(wait_for(sub {
        my %new = map { $_ => 1 } $t->workers();
        delete @new{@victims};
        keys %new == 6;
    }), 'and die with their workers');

    $t->wait_for_revision(1);

    is($t->wait_for_counts({ 'echo.1' => 0 })->{'echo.1'}, 0,
        'nothing is left');
}

unlike($t->read_file('error.log'), qr/processes share the zone already/,
    'each worker had a column');

# and what is counted now is what there is

my @ws = map { $t->websocket('/agents/echo/') } 1 .. 24;
is($t->wait_for_counts({ 'echo.1' => 24 })->{'echo.1'}, 24, 'counted');
is($agent->stats()->{websockets}, 24, 'agent agrees');

###############################################################################
