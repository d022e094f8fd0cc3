#!/usr/bin/perl

# Tests for corral_redis with a name that nginx's resolver looks up again with
# each new connection, and over IPv6: by a literal and by what the resolver says.
# While the configuration is read the name leads to 127.0.0.1, where nothing
# listens: whatever reaches a Redis has come through the resolver.

###############################################################################

use warnings;
use strict;

use IO::Socket::IP;
use Socket qw/inet_pton AF_INET AF_INET6/;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_redis redis-server/);

plan(skip_all => 'no IPv6 on loopback')
    unless IO::Socket::IP->new(LocalHost => '::1', Listen => 1);

$t->plan(16);

my $log = $t->testdir() . '/dns.log';

# one port, three hosts

my %store = map { $_->[0] => redis(@$_) } [ 8379, '127.0.0.2' ],
    [ 8380, '127.0.0.3' ], [ 8381, '::1' ];

says('A 127.0.0.2');
$t->run_daemon(\&dns, udp_socket(8053));

configure('localhost', "resolver 127.0.0.1:%%PORT_8053%% valid=1s;");
$t->run();

ok(defined $store{8379}->wait_acks(2, 1), 'the name: by the resolver');
ok(there($store{8379}), 'two connections a worker');
like($t->read_file('dns.log'), qr/^A localhost$/m, 'that was asked');

# it moves

says('A 127.0.0.3');
stop(8379);

ok(defined $store{8380}->wait_acks(2, 1, 20), 'another answer, another Redis');
ok(there($store{8380}), 'all are there');

# what the resolver said last holds while it says nothing of use

for my $what ('fail', 'nothing', 'mute') {
    says($what);

    ok(asks_again($store{8380}) && there($store{8380}),
        "$what: the last known address");
}

like($t->read_file('error.log'),
    qr/host of Redis "localhost" could not be resolved .*known so far/,
    'and it is told');

# IPv6 by the resolver

says('AAAA ::1');
stop(8380);

ok(defined $store{8381}->wait_acks(2, 1, 20), 'an IPv6 address');
ok(there($store{8381}), 'all are there');

# no worker is held back by a name that is being looked up

says('mute');

ok(asks_again($store{8381}), 'a name is being looked up');
$t->stop();
pass('nginx stops all the same');

# IPv6 by a literal

says('fail');

my $asked = asked();

$store{8381}->forget();
configure('[::1]', '');
$t->run();

ok(defined $store{8381}->wait_acks(2, 1), 'an IPv6 literal');
ok(there($store{8381}), 'two connections a worker');
is(asked(), $asked, 'and nothing is looked up');

###############################################################################

sub redis {
    my ($n, $host) = @_;

    my $store = Test::Corral::Store->new($t->redis(port => $n,
        args => [ '--port', port(8379), '--bind', $host ]));

    $store->epoch("of $host");
    $store->commit($store->service('one'));

    return $store;
}

sub stop {
    my ($n) = @_;
    $t->stop_daemon($t->{redis}{$n});
}

# all workers have their two connections

sub there {
    my ($store) = @_;

    return wait_for(sub { connections($store) == 4 }, 20);
}

sub connections {
    return scalar(() = $_[0]->command('CLIENT', 'LIST') =~ / name=\S/g);
}

# An answer is good for a second: a connection that is lost earlier comes back
# without a question, and is then to be lost again.

sub asks_again {
    my ($store) = @_;
    my $asked = asked();

    return wait_for(sub {
        drop($store) if connections($store) == 4;
        return asked() > $asked;
    }, 20);
}

sub drop { $_[0]->command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes') }

sub says { $t->write_file('dns.says', $_[0]) }
sub asked { scalar(() = (-e $log ? $t->read_file('dns.log') : '') =~ /\n/g) }

sub configure {
    my ($host, $resolver) = @_;

    $t->write_file_expand('nginx.conf', <<"EOC");

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    $resolver

    corral_zone   corral 4m;
    corral_redis  redis://$host:%%PORT_8379%%;

    server {
        listen  127.0.0.1:8080;
        location = /status { corral_status; }
    }
}
EOC
}

# A name server that answers what the file dns.says holds: "A" or "AAAA" and an
# address, "fail" (SERVFAIL), "nothing" (no address of any kind) or "mute".

sub dns {
    my (undef, $socket) = @_;

    open my $fh, '>>', $log or die "$log: $!";
    $fh->autoflush(1);

    while (defined(my $peer = $socket->recv(my $query, 512))) {
        my ($id, $name) = (substr($query, 0, 2), substr $query, 12);
        my @labels;

        while (my $n = ord $name) {
            push @labels, substr $name, 1, $n;
            $name = substr $name, 1 + $n;
        }

        my $type = { 1 => 'A', 28 => 'AAAA' }->{ unpack 'n', substr $name, 1 };
        my ($word, $address) = split ' ', $t->read_file('dns.says');
        my $question = substr $query, 12;
        my $answer = '';

        print $fh "$type ", join('.', @labels), "\n";
        next if $word eq 'mute';

        if ($word eq $type) {
            my $bytes = inet_pton($type eq 'A' ? AF_INET : AF_INET6, $address);
            $answer = pack('n3 N n/a*', 0xc00c, $type eq 'A' ? 1 : 28, 1, 1,
                $bytes);
        }

        $socket->send($id . pack('n5', $word eq 'fail' ? 0x8182 : 0x8180, 1,
            $answer ne '', 0, 0) . $question . $answer, 0, $peer);
    }
}

###############################################################################
