#!/usr/bin/perl

# Tests for rebalancing: when an instance is added, some of the WebSockets of the
# old one go there, at a pace and idle ones first, and then all is quiet.

###############################################################################

use warnings;
use strict;

use Test::More;
use IO::Select;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $one = $t->agent(id => 'one', port => 8081)->set(rpc => 1);
my $two = $t->agent(id => 'two', port => 8082)->set(rpc => 1);
my $bad = $t->agent(id => 'bad', port => 8083)->set(mode => 'drop');
my $mute = $t->agent(id => 'mute', port => 8084)->set(mode => 'hang');

my %on = (failover => 'reattach', rebalance => 'reattach', max_fails => 0,
    rebalance_rate => 100, rebalance_idle => '0s');

my %services = (
    move => { %on },
    heavy => { %on },
    three => { %on },
    pace => { %on, rebalance_rate => 2 },
    rpc => { %on, failover => 'replay', answer => 'jsonrpc' },
    busy => { %on, rebalance_idle => '1h' },
    sticky => { %on, affinity => 'header.X-User' },
    hashed => { %on, balance => 'hash', hash_key => 'header.X-User' },
    allowed => { %on, affinity => 'header.X-User', rebalance_sessions => \1 },
    limited => { %on, max_sessions => 8 },
    spare => { %on },
    drains => { %on },
    dies => { %on },
    hangs => { %on, hold_time => '2s' },
    off => { failover => 'reattach' },
    close => { rebalance => 'close', rebalance_rate => 100,
        rebalance_idle => '0s', balance => 'least_conn' },
    closed => { %on, failover => 'close' });

my @names = sort keys %services;

registry(1);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(44);

%%TEST_GLOBALS%%

events {
    worker_connections  1024;
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

        corral_service_from  path;

        location / {
            corral_websocket      agents;
            corral_close_timeout  300ms;
        }

        location = /status { corral_service off; corral_status; access_log off; }
        location = /metrics { corral_service off; corral_metrics; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

my %ws;

for my $name (@names) {
    my $n = $name eq 'move' ? 40 : $name eq 'three' ? 24 : $name eq 'limited' ? 8 : 12;
    $ws{$name} = [ map { $t->websocket("/agents/$name/",
        headers => [ "X-User: $name$_" ]) } 1 .. $n ];
}

is($_->ask('!id'), 'one', 'there is one instance')
    for map { $ws{$_}[0] } qw/move rpc close/;

# the second half of them says something, in this order

my @late = @{ $ws{pace} }[6 .. 11];
$_->ask('late') for @late;

# a request that waits for its answer

$ws{rpc}[0]->send_text('{"id":1,"method":"hold"}');
$_->ask('busy') for @{ $ws{busy} };

is($t->counts()->{'move.1'}, 40, 'all are on it');
is(service('move')->{rebalanced}, 0, 'nothing to move');

registry(2);
$t->wait_for_revision(2);

# those that are closed come back at once

my $closed = IO::Select->new(map { $_->socket() } @{ $ws{close} });
my %by_socket = map { $_->socket() => $_ } @{ $ws{close} };
my @gone;

ok(wait_for(sub {
    for my $socket ($closed->can_read(0.01)) {
        push @gone, $by_socket{$socket};
        $closed->remove($socket);
        push @{ $ws{close} }, $t->websocket('/agents/close/');
    }
    return @gone >= 6;
}, 15), 'some are closed');

# pace: the last of six comes at 2 a second not before two seconds have passed

ok(wait_for(sub { service('pace')->{rebalanced} }, 15), 'it begins');
my $began = time();

is_deeply($t->wait_for_counts({ 'move.1' => 20, 'move.2' => 20 }, 15),
    { 'move.1' => 20, 'move.2' => 20 }, 'each has its share');
is_deeply($t->wait_for_counts({ 'heavy.1' => 3, 'heavy.2' => 9 }, 15),
    { 'heavy.1' => 3, 'heavy.2' => 9 }, 'by weight');

is_deeply($t->wait_for_counts({ map { ("three.$_" => 8) } 1 .. 3 }, 15),
    { map { ("three.$_" => 8) } 1 .. 3 }, 'from two to a third one');

ok(wait_for(sub { service('pace')->{rebalanced} >= 6 }, 15), 'all have gone');
cmp_ok(time() - $began, '>', 2, 'at a pace');
is_deeply($t->wait_for_counts({ 'pace.1' => 6, 'pace.2' => 6 }, 5),
    { 'pace.1' => 6, 'pace.2' => 6 }, 'slowly, too');
is(join(' ', map { $_->ask('!id') } @late), join(' ', ('one') x 6),
    'those that were idle longest went first');

# nobody was closed, and none has lost its place

is(scalar(grep { $_->ask("still $_") ne "still $_" } @{ $ws{move} }), 0,
    'all clients are served');
my %on_agent;
$on_agent{ $_->ask('!id') }++ for @{ $ws{move} };
is_deeply(\%on_agent, { one => 20, two => 20 }, 'as the agents say');
like($ws{pace}[0]->ask('!head'), qr/^Corral-Resume: 1\r$/m, 'by re-attachment');

# replay: a request that waits keeps its instance

is_deeply($t->wait_for_counts({ 'rpc.1' => 6, 'rpc.2' => 6 }, 15),
    { 'rpc.1' => 6, 'rpc.2' => 6 }, 'a service that replays');
is($ws{rpc}[0]->ask('!id'), 'one', 'who waits for an answer stays');
is(service('rpc')->{replayed}, 0, 'nothing is said again');

# who stays

is_deeply(counts('off'), [ 12, 0 ], 'off, unless it is asked for');
is_deeply(counts('sticky'), [ 12, 0 ], 'sessions stay where affinity has them');
is_deeply(counts('hashed'), [ 12, 0 ], 'and where a hash has put them');
is_deeply(counts('busy'), [ 12, 0 ], 'who was used lately stays');
is_deeply(counts('closed'), [ 12, 0 ], 'who cannot go on elsewhere is not closed');
is_deeply(counts('spare'), [ 12, 0 ], 'nothing goes to another priority');
is_deeply(counts('drains'), [ 6, 0, 6 ], 'nothing goes while others drain');
is_deeply($t->wait_for_counts({ 'allowed.1' => 6, 'allowed.2' => 6 }, 15),
    { 'allowed.1' => 6, 'allowed.2' => 6 }, 'sessions, too, if it is wanted');
is_deeply($t->wait_for_counts({ 'limited.1' => 4, 'limited.2' => 4 }, 15),
    { 'limited.1' => 4, 'limited.2' => 4 }, 'with limits');

# close

is_deeply([ sort map { $_->close_code() } @gone ], [ (1012) x 6 ],
    'closed with 1012');
like($gone[0]->close_reason(), qr/^rebalancing retry_after=[1-5]$/, 'and a hint');
is_deeply(counts('close'), [ 6, 6 ], 'they come back, to the other one');

# an instance that takes none: its clients stay with the other one

ok(wait_for(sub { service('dies')->{rebalanced} >= 6 }, 15), 'it is tried');
is(scalar(grep { $_->ask('alive') ne 'alive' } @{ $ws{dies} }), 0,
    'no client is lost');
ok(wait_for(sub { service('hangs')->{rebalanced} >= 6 }, 15), 'it is tried');
is(scalar(grep { $_->ask('alive') ne 'alive' } @{ $ws{hangs} }), 0,
    'one that does not answer loses no client either');

# all is quiet

my %before = map { $_ => service($_)->{rebalanced} }
    qw/move heavy three pace rpc allowed limited close/;
is_deeply(\%before, { move => 20, heavy => 9, three => 8, pace => 6, rpc => 6, allowed => 6,
    limited => 4, close => 6 }, 'no more were moved than had to be');
wait_for(sub { service('dies')->{rebalanced} >= 18 }, 30);
is_deeply({ map { $_ => service($_)->{rebalanced} } keys %before }, \%before,
    'also in the next periods');
is(service('move')->{moves_refused}, 0, 'none was refused');

like(http_get('/metrics'), qr/^corral_service_rebalanced_total\{service="move"\} 20$/m,
    'metric');
like($t->read_file('error.log'), qr/load of service "move" is uneven/, 'log');

# the new instance dies: all are back, and stay when it is there again

$two->drop('reset');
$two->refuse();
is(scalar(grep { $_->ask('there') ne 'there' } @{ $ws{move} }), 0,
    'all survive the end of their new instance');
$two->listen();
is_deeply($t->wait_for_counts({ 'move.1' => 20, 'move.2' => 20 }, 30),
    { 'move.1' => 20, 'move.2' => 20 }, 'back when it is there again');
is(scalar(grep { $_->ask('again') ne 'again' } @{ $ws{move} }), 0,
    'and all are served');

###############################################################################

sub registry {
    my ($revision) = @_;

    my @instances = ({ %{ $one->instance('three') }, id => 'three.3' },
        { %{ $one->instance('drains') }, id => 'drains.3',
        $revision > 1 ? (state => 'draining') : () });

    for my $name (@names) {
        my %of = (id => "$name.2", $name eq 'heavy' ? (weight => 300) : (),
            $name eq 'spare' ? (priority => 1) : ());

        push @instances, { %{ $one->instance($name) }, id => "$name.1" };
        my $new = $name eq 'dies' ? $bad : $name eq 'hangs' ? $mute : $two;
        push @instances, { %{ $new->instance($name) }, %of } if $revision > 1;
    }

    return $t->state_file(revision => $revision, instances => \@instances,
        services => [ map { { name => $_, %{ $services{$_} } } } @names ]);
}

sub service {
    my ($name) = @_;
    return (grep { $_->{name} eq $name } @{ $t->status()->{services} })[0];
}

sub counts {
    my ($name) = @_;
    my $counts = $t->counts();
    return [ map { $counts->{$_} } sort grep { /^$name\./ } keys %$counts ];
}

###############################################################################
