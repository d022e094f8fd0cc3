#!/usr/bin/perl

# Tests for rebalancing by two gateways with two workers each: together they move
# no more than is too much, by themselves and when they are asked.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

use JSON::PP;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_redis corral_websocket redis-server/);
my $other = Test::Corral->new();

my @agents = map { $t->agent(id => "a.$_", socket => "a.$_.sock")
    ->set(rpc => 1) } 1 .. 2;
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->plan(24);

for ([ $t, 'one', 8080 ], [ $other, 'two', 8090 ]) {
    my ($gateway, $name, $port) = @$_;

    $gateway->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone     corral 4m;
    corral_redis    "unix:$redis";
    corral_node     node-$name;
    corral_gateway  gate-$name;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:$port reuseport;

        corral_service_from  query;

        location / {
            corral_websocket  agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF
}

my %doc = (failover => 'reattach', rebalance_idle => '0s', rebalance_rate => 20);

$store->epoch('first');
$store->commit($store->service('auto', %doc, rebalance => 'reattach',
        failover => 'replay', answer => 'jsonrpc'),
    $store->service('asked', %doc), $store->service('sticky', %doc,
        affinity => 'client_ip'),
    map { $store->instance($_, "a.1.$_", $agents[0]->address()) }
        qw/auto asked sticky/);

$_->run() for $t, $other;
$store->wait_acks(4, 1) // die "The gateways do not follow\n";

###############################################################################

my %ws = map { $_ => [ clients($_) ] } qw/auto asked sticky/;

ok(wait_for(sub { load($t, 'auto') == 40 && load($other, 'auto') == 40 }, 10),
    'both know of all');

my @sequence = (0) x 40;

$store->commit(map { $store->instance($_, "a.2.$_", $agents[1]->address()) }
    qw/auto asked sticky/);
$store->wait_acks(4, 2) // die "The gateways do not follow\n";

# numbered messages, all the time

my $lost = 0;

ok(wait_for(sub {
    for my $i (0 .. 39) {
        my $n = ++$sequence[$i];
        $lost++ if number($i, $n) != $n;
    }
    return held('auto')->[1] >= 18;
}, 60), 'an instance more gets its share');

# no more than that, and not back again

my $moved = moved('auto');
cmp_ok($moved, '<=', 22, 'not much more than that');
cmp_ok($_, '>=', 5, 'each gateway moves its part')
    for map { service($_, 'auto')->{rebalanced} } $t, $other;

# eighteen seconds are three periods: a plan is due in each

my $until = time() + 18;

wait_for(sub {
    for my $i (0 .. 39) {
        my $n = ++$sequence[$i];
        $lost++ if number($i, $n) != $n;
    }
    return time() >= $until;
}, 30);

is($lost, 0, 'no message is lost or doubled');
cmp_ok(moved('auto'), '<=', 22, 'and then all is quiet');
my $held = held('auto');
cmp_ok($_, '<=', 22, 'each has its share') for @$held;
is($held->[0] + $held->[1], 40, 'all are there');

# off: only when it is asked for

is_deeply(held('asked'), [ 40, 0 ], 'another service is left alone');

my %asked = (op => 'rebalance', filter => '{"service_id":"id-asked"}');
my ($planned, $movable) = order(%asked, dry_run => 1);
is($planned, 20, 'a dry run says how many are to go');
is($movable, 40, 'and how many could');
is_deeply(held('asked'), [ 40, 0 ], 'and does nothing');

($planned) = order(%asked);
is($planned, 20, 'as many are to go');
ok(wait_for(sub { held('asked')->[1] == 20 }, 20), 'they do');
ok(wait_for(sub { moved('asked') >= 20 }, 5), 'they are counted');
is(moved('asked'), 20, 'and no more');
ok(wait_for(sub { 2 == grep { my $i = $_->instance('a.2.asked');
    $i->{active} + $i->{remote} == 20 } $t, $other }, 10), 'both have heard of it');
is((order(%asked))[0], 0, 'then there is nothing to do');

is(join(' ', order(op => 'rebalance', filter => '{"service_id":"id-sticky"}')),
    '20 0', 'what affinity keeps cannot go');

# what is refused

my @answers = $store->order(4, sub { }, op => 'rebalance', filter => '{}');
is_deeply([ map { $_->{error} } @answers ],
    [ ('a rebalance needs a service_id') x 4 ], 'without a service');
@answers = $store->order(4, sub { }, op => 'rebalance',
    filter => '{"service_id":"none"}');
is($answers[0]{error}, 'there is no such service in this gateway', 'no service');

# the clients of both are held by the first

$t->close_clients();
$other->stop();

###############################################################################

sub clients {
    my ($name) = @_;

    my @ws = map { my $port = $_; map { $t->websocket("/?service=$name",
        port => port($port)) } 1 .. 20 } 8080, 8090;
    is(scalar(grep { $_->ask('!id') eq 'a.1' } @ws), 40, 'all on one')
        if $name eq 'auto';

    return @ws;
}

# a numbered request; the answer to another one is lost or doubled

sub number {
    my ($i, $n) = @_;
    my $answer = $ws{auto}[$i]->ask(
        qq({"id":"$i.$n","method":"echo","params":$n}));
    return -1 unless defined $answer && $answer =~ /"$i\.$n"/;
    return decode_json($answer)->{result};
}

sub service {
    my ($gateway, $name) = @_;
    return (grep { $_->{name} eq $name }
        @{ $gateway->status()->{services} })[0];
}

# what a gateway knows: of its own, and of others

sub load {
    my ($gateway, $name) = @_;
    my $service = service($gateway, $name);
    return $service->{active} + $service->{remote};
}

sub moved {
    my ($name) = @_;
    my $n = 0;
    $n += service($_, $name)->{rebalanced} for $t, $other;
    return $n;
}

# what the instances have, summed up over what each gateway counts itself

sub held {
    my ($name) = @_;
    my %n;

    for my $gateway ($t, $other) {
        my $counts = $gateway->counts();
        $n{$_} += $counts->{$_} for keys %$counts;
    }

    return [ map { $n{"a.$_.$name"} // 0 } 1 .. 2 ];
}

sub order {
    my (%fields) = @_;
    my ($matched, $closed) = (0, 0);

    for ($store->order(4, sub { }, %fields)) {
        diag($_->{error}) if $_->{error};
        $matched += $_->{matched};
        $closed += $_->{closed};
    }

    return ($matched, $closed);
}

###############################################################################
