#!/usr/bin/perl

# Tests for an upgrade of the binary (USR2, WINCH, QUIT): connections go on, the
# new processes serve at once, the old ones end with their last connection.

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

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(11);

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

my @ws = map { $t->websocket('/agents/echo/') } 1 .. 4;
is($t->wait_for_counts({ 'echo.1' => 4 })->{'echo.1'}, 4, 'before');

my $old = $t->upgrade();
isnt($t->master(), $old, 'another master');

is(join('', map { $_->numbered(5) } @ws), '', 'messages go on');
is($agent->stats()->{websockets}, 4, 'nobody was disconnected');

# the new workers have the registry and serve

ok($t->wait_for_revision(1), 'registry is there');
my $new = $t->websocket('/agents/echo/');
is($new->numbered(5), '', 'new connection');
is($agent->stats()->{websockets}, 5, 'agent has both');

# the new binary has a zone of its own and counts its own connections

is($t->wait_for_counts({ 'echo.1' => 1 })->{'echo.1'}, 1, 'counts anew');

$_->close() for @ws;

ok(wait_for(sub { !Test::Corral::alive($old) }, 5), 'old binary ends');
is($new->numbered(5), '', 'new connection goes on');
ok($t->reload(), 'new master reloads');

###############################################################################
