#!/usr/bin/perl

# Tests for re-attachment: the instance is lost while its client reads nothing,
# so that bytes for the client still wait in the gateway.

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

my $one = $t->agent(id => 'echo.1', port => 8081);
my $two = $t->agent(id => 'echo.2', port => 8082);

$t->state_file(services => [ { name => 'echo', failover => 'reattach',
        hold_time => '10s', max_fails => 0 } ],
    instances => [ $one->instance('echo', weight => 1000),
        $two->instance('echo', weight => 1) ]);

$t->write_file_expand('nginx.conf', <<'END')->plan(5);

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
            corral_service_from   path;
            corral_websocket      agents;
        }

        location = /status { corral_status; access_log off; }
    }
}

END

$t->run()->wait_for_revision(1);

my ($worker) = $t->workers();

###############################################################################

my $ws = on_one('/agents/echo/', rcvbuf => 65536);
my $sent = 0;

# until the agent can say nothing more: its bytes wait in the gateway, too

ok(wait_for(sub {
    my $out = $one->stats()->{out};
    $ws->send_text('!send 30000') for 1 .. 20;
    $sent += 20;
    return $out > 1_000_000 && $one->stats()->{out} == $out
        && $sent * 30000 > $out;
}, 20), 'the client reads nothing');

# the next send to the agent fails, and no instance is there for a while

$_->refuse() for $one, $two;
$one->drop('reset');
ok(wait_for(sub { $ws->send_text('!id'); moving() }, 10),
    'its instance is lost meanwhile');

my $n = 0;
$n++ while length($ws->read_message(1) // '') == 30000;
cmp_ok($n, '>', 10, 'it reads what was said, while no instance has it');

$two->listen();
is($ws->ask('!id'), 'echo.2', 'another one goes on');
is(join(' ', $t->workers()), $worker, 'the worker lives');

###############################################################################

# the weights make the first one likely

sub on_one {
    my ($path, @more) = @_;

    for (1 .. 20) {
        my $ws = $t->websocket($path, @more);
        return $ws if $ws->ask('!id') eq 'echo.1';
        $ws->close();
    }

    die "echo.1 is never picked\n";
}

# it is counted with the other instance, or with none while it moves

sub moving {
    return !$t->counts()->{'echo.1'};
}

###############################################################################
