#!/usr/bin/perl

# Tests for corral_mirror with a shadow that never answers: no kind of client
# waits for it, and nothing is left of a copy.

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

plan(skip_all => 'no curl with HTTP/2')
    if (`curl --version 2>/dev/null` // '') !~ /HTTP2/;

my $t = Test::Corral->new()
    ->has(qw/corral corral_mirror corral_status openssl IO::Socket::SSL/);

my $agent = $t->agent(id => 'main.1', socket => 'main.sock');
my $shadow = $t->agent(id => 'shadow.1', socket => 'shadow.sock');

$t->state_file(
    services => [ { name => 'main', mirror => 'shadow' },
        { name => 'shadow', max_fails => 0 } ],
    instances => [ $agent->instance('main'), $shadow->instance('shadow') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(21);

%%TEST_GLOBALS%%

worker_processes  1;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    ssl_certificate      %%TESTDIR%%/localhost.crt;
    ssl_certificate_key  %%TESTDIR%%/localhost.key;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8443 ssl;
        listen  127.0.0.1:8444 ssl http2;
        listen  127.0.0.1:8080;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";

        location / {
            corral_service         main;
            corral_mirror          /mirror;
            corral_mirror_timeout  60s;
            proxy_pass             http://agents;
        }

        location = /mirror {
            internal;
            proxy_pass  http://agents;
        }

        location = /status { corral_status; }
    }
}

EOF

my $d = $t->testdir();
system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2"
    . " -keyout $d/localhost.key -out $d/localhost.crt >>$d/openssl.out 2>&1");

$t->run()->wait_for_revision(1);

$shadow->set(mode => 'hang');

###############################################################################

my ($copies, $cut) = (0, 0);

# TLS: its end is not to be told without the end of the connection

my $s = tls();
print $s "GET /1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
like(read_tls($s), qr{"uri":"/1".*\z}s, 'TLS: answered, and closed');
ok(copies(++$copies), 'with a copy');
is(held(0), 0, 'which has ended');
is(cut(), ++$cut, 'early');

$s = tls();
print $s join '', map { "GET /$_ HTTP/1.1\r\nHost: localhost\r\n\r\n" } 2, 3;
like(read_tls($s, qr{"uri":"/3"}), qr{"uri":"/2".*"uri":"/3"}s,
    'two in one packet');
is(held(1), 1, 'the first copy is cut, the second one goes on');
$s->close(SSL_no_shutdown => 1);
ok(copies($copies += 2), 'two copies');

$shadow->drop();
is(held(0), 0, 'and ends');
is(cut(), ++$cut, 'one was cut');

# HTTP/2: requests do not wait for each other

my $url = 'https://127.0.0.1:' . port(8444);
my $got = `curl -sSik --http2 $url/4 $url/5 2>&1`;
like($got, qr{^HTTP/2 200.*"uri":"/4".*HTTP/2 200.*"uri":"/5"}s, 'HTTP/2: both answered');
ok(copies($copies += 2), 'with copies');
is(held(2), 2, 'which go on, also when the connection has ended');

$shadow->drop();
is(held(0), 0, 'and end');

# a client that leaves before its answer

$s = http("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n", start => 1);
is(held(1), 1, 'both agents have it');
close $s;
is(held(0), 0, 'its client leaves');
is($t->wait_for_counts({ 'main.1' => 0 })->{'main.1'}, 0, 'both are free');

# one that has it, and leaves: nobody waits

$s = http("GET /6 HTTP/1.1\r\nHost: localhost\r\n\r\n", start => 1);
like(http_read($s, until => qr/"uri"/), qr{"uri":"/6"}, 'answered');
close $s;
is(held(1), 1, 'the copy goes on');

# a worker that is to end does not wait for it

my ($old) = $t->workers();
ok($t->reload(), 'reload');
ok(wait_for(sub { !$t->alive($old) }, 10), 'the old worker ends');
is(held(0), 0, 'and so does the copy');

###############################################################################

sub tls {
    return IO::Socket::SSL->new(PeerAddr => '127.0.0.1:' . port(8443),
        SSL_verify_mode => 0) || die "No TLS: " . IO::Socket::SSL::errstr();
}

# up to the end of the connection, or to what is waited for

sub read_tls {
    my ($s, $until) = @_;
    my $got = '';

    local $SIG{ALRM} = sub { die "still open: $got\n" };
    alarm 10;
    eval {
        while (sysread $s, my $buf, 65536) {
            $got .= $buf;
            last if $until && $got =~ $until;
        }
    };
    alarm 0;

    return $@ || $got;
}

# a client may have its answer before the shadow has read the copy

sub copies {
    my ($n) = @_;
    my $now;
    wait_for(sub { ($now = $shadow->stats()->{requests}) >= $n });
    return $now == $n;
}

sub held {
    my ($n) = @_;
    return $t->wait_for_counts({ 'shadow.1' => $n })->{'shadow.1'};
}

sub cut {
    my ($s) = grep { $_->{name} eq 'main' } @{ $t->status()->{services} };
    return $s->{mirror_cut};
}

###############################################################################
