#!/usr/bin/perl

# Tests for a message that kills whoever gets it: of ten instances at most two
# die, also when its sender comes again, with the same message or with another
# id; and what was in flight beside it is refused only until it was answered.

###############################################################################

use warnings;
use strict;

use JSON::PP;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $json = JSON::PP->new->canonical;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);
my @agents = map { $t->agent(id => "ten.$_", socket => "ten-$_.sock",
        rpc => 1, rpc_die => 'poison') } 1 .. 10;

$t->state_file(
    services => [ { name => 'ten', failover => 'replay', answer => 'jsonrpc',
        max_fails => 0, hold_time => '5s', tries => 10 } ],
    instances => [ map { $_->instance('ten') } @agents ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(25);

%%TEST_GLOBALS%%

worker_processes  1;

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

        location = /status {
            corral_status;
        }
    }
}

EOF

$t->run();

###############################################################################

my @pids = map { $_->pid() } @agents;

# clients of all instances; each waits for an answer

my @clients = map { open_ws() } 1 .. 40;

say_to($_, 1, 'later', 300) for @clients;
is(scalar(grep { answer($_, 1) eq 'late' } @clients), 40, 'forty clients');
say_to($_, 2, 'later', 4000) for @clients;

# one of them sends what kills

my $sender = open_ws();
say_to($sender, 3, 'later', 4000);
say_to($sender, 5, 'later', 300);
say_to($sender, 4, 'poison', 'x');
is($sender->close_code(), 1011, 'the sender is closed');
ok(wait_for(sub { dead() == 2 }, 5), 'two have died');

# it comes again: the same, another id, an id that is text

my @codes;

for my $id (4, 5, 'again', map { "id-$_" } 1 .. 9) {
    my $ws = open_ws();
    say_to($ws, $id, 'poison', 'x');
    push @codes, $ws->close_code();
}

is(join(' ', @codes), join(' ', (1011) x 12), 'and is refused');
is(dead(), 2, 'no other instance dies');

my $ws = open_ws();
say_to($ws, 1, 'later', 4000);
is($ws->close_code(), 1011, 'what was in flight beside it is refused, too');
is(ask(open_ws(), 1, 'later', 300), 'late', 'but not what agents have answered');

# the same word with other content is another message

$ws = open_ws();
is(ask($ws, 1, 'echo', 'poison'), 'poison', 'other messages pass');

# clients of the dead instances go on elsewhere, but for those whom both hit;
# and as one of them is answered, the message is no longer under suspicion

my @answered = grep { (answer($_, 2) // '') eq 'late' } @clients;
cmp_ok(scalar @answered, '>=', 32, 'those of other instances get their answer');

is(ask(open_ws(), 'new', 'later', 4000), 'late', 'and whoever asks the same');

$ws = open_ws();
say_to($ws, 77, 'poison', 'x');
is($ws->close_code(), 1011, 'what kills has no answer, and is refused still');
is(dead(), 2, 'two have died');

# what asks for nothing is never answered: it is enough that agents have read it
# and live; and an answer may be too long to be held

my @note = (jsonrpc => '2.0', method => 'note');
my @long = (method => 'fill', params => 100000);

for (1 .. 40) {
    $ws = open_ws();
    $ws->send_text($json->encode({ @note }));
    $ws = undef if length ask($ws, 1, @long[1, 3]) != 100000;
}

ok($ws, 'a note, and a long answer');

$ws = open_ws();
$ws->send_raw(join '', map { $ws->frame(1, $json->encode({ @$_ })) }
    [ jsonrpc => '2.0', id => 1, method => 'poison', params => 'y' ],
    \@note, [ jsonrpc => '2.0', id => 2, @long ]);
is($ws->close_code(), 1011, 'the same beside what kills');
ok(wait_for(sub { dead() == 4 }, 5), 'two more have died');

$ws = open_ws();
$ws->send_text($json->encode({ @note }));
is(ask($ws, 1, 'echo', 'read'), 'read', 'the note is refused to nobody');
is(length(ask(open_ws(), 1, @long[1, 3]) // ''), 100000,
    'nor is what has a long answer');

# what was harmless and kills now: the first time it may have been chance

is(ask(open_ws(), 1, 'echo', 'z'), 'z', 'harmless');
$_->set(rpc_die => 'echo') for grep { $t->alive($_->pid()) } @agents;

for my $deaths (6, 8, 8) {
    $ws = open_ws();
    say_to($ws, $deaths, 'echo', 'z');
    is($ws->close_code(), 1011, 'closed');
    ok(wait_for(sub { dead() == $deaths }, 5), "$deaths have died");
}

$_->set(rpc_die => '') for grep { $t->alive($_->pid()) } @agents;
is(ask(open_ws(), 1, 'later', 300), 'late', 'others go on');

###############################################################################

sub dead { scalar grep { !$t->alive($_) } @pids }

sub say_to {
    my ($ws, $id, $method, $params) = @_;
    $ws->send_text($json->encode({ jsonrpc => '2.0', id => $id,
        method => $method, defined $params ? (params => $params) : () }));
}

sub ask {
    my ($ws, $id, @rpc) = @_;
    say_to($ws, $id, @rpc);
    return answer($ws, $id);
}

sub answer {
    my ($ws, $id) = @_;

    while (defined(my $m = $ws->read_message())) {
        my $doc = $json->decode($m);
        return $doc->{result} if $doc->{id} eq $id;
    }

    return;
}

sub open_ws { $t->websocket('/agents/ten/', timeout => 10) }

###############################################################################
