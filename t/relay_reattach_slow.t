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
        hold_time => '10s', max_fails => 0, hold_size => 1024 },
        { name => 'brief', failover => 'reattach', hold_time => '500ms',
            max_fails => 0 } ],
    instances => [ $one->instance('echo', weight => 1000),
        $two->instance('echo', weight => 1),
        { %{ $one->instance('brief', weight => 1000) }, id => 'brief.1' },
        { %{ $two->instance('brief') }, id => 'brief.2' } ]);

$t->write_file_expand('nginx.conf', <<'END')->plan(9);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  ends  '$request_uri';
    access_log  %%TESTDIR%%/ends.log  ends;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from   path;
            corral_websocket      agents;
            corral_close_timeout  10s;
        }

        location = /status { corral_status; access_log off; }
    }
}

END

$t->run()->wait_for_revision(1);

my ($worker) = $t->workers();

###############################################################################

# the next send to the agent fails, and no instance is there for a while

my $ws = on_one('/agents/echo/', rcvbuf => 65536);

ok(stuck($ws), 'the client reads nothing');
$_->refuse() for $one, $two;
$one->drop('reset');
ok(wait_for(sub { $ws->send_text('!id'); moving() }, 10),
    'its instance is lost meanwhile');

my $n = 0;
$n++ while length($ws->read_message(1) // '') == 1000;
cmp_ok($n, '>', 10, 'it reads what was said, while no instance has it');

$two->listen();
is($ws->ask('!id'), 'echo.2', 'another one goes on');
$ws->close();
$one->listen();

# a message that is too long to be held: the agent that is lost had its
# beginning, so that no other one may get its end

$ws = on_one('/agents/echo/', rcvbuf => 65536);
stuck($ws);
$one->drop('reset');
$ws->send_raw($ws->frame(1, 'x' x 2000, fin => 0)
    . $ws->frame(0, 'y' x 2000));
is($ws->close_code(5), 1012, 'half of a message went to one that is lost');
is($ws->close_reason(), 'agent lost within a message to it', 'says the reason');

# messages wait for an instance and none comes: the client's answer to our Close
# is read

$ws = on_one('/agents/brief/', rcvbuf => 65536);
stuck($ws);
$_->refuse() for $one, $two;
$one->drop('reset');
$ws->send_raw(join '', map { $ws->frame(1, "m$_") } 1 .. 5);
is($ws->close_code(5), 1012, 'no instance took over');
ok(wait_for(sub { $t->read_file('ends.log') =~ /brief/ }, 5),
    'it ends with the answer to our Close');

is(join(' ', $t->workers()), $worker, 'the worker lives');

###############################################################################

# until the agent can say nothing more: its bytes wait in the gateway, too

sub stuck {
    my ($ws) = @_;
    my ($before, $sent) = ($one->stats()->{out}, 0);

    return wait_for(sub {
        my $out = $one->stats()->{out};
        $ws->send_text('!send 1000') for 1 .. 500;
        $sent += 500_000;
        return $out - $before > 500_000 && $one->stats()->{out} == $out
            && $before + $sent > $out;
    }, 20);
}

# the weights make the first one likely

sub on_one {
    my ($path, @more) = @_;

    for (1 .. 20) {
        my $ws = $t->websocket($path, @more);
        return $ws if $ws->ask('!id') eq $one->id();
        $ws->close();
    }

    die "echo.1 is never picked\n";
}

# it is counted with the other instance, or with none while it moves

sub moving {
    return !$t->counts()->{'echo.1'};
}

###############################################################################
