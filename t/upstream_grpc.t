#!/usr/bin/perl

# Tests for gRPC: grpc_pass on the same kind of upstream block, with the agents of
# nghttp2 as HTTP/2 backends.

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

my $t = Test::Corral->new()
    ->has(qw/corral corral_status nghttpd nghttp/);

# nghttpd serves files; a trailer and the type make an answer look like gRPC

$t->write_file('index.html', "\0\0\0\0\2hi");

for (8081, 8082) {
    mkdir $t->testdir() . "/$_";
    $t->write_file("$_/call", "\0\0\0\0\4$_");
    utime $_, $_, $t->testdir() . "/$_/call";
    $t->run_daemon('nghttpd', '--no-tls', '-a', '127.0.0.1',
        '-d', $t->testdir() . "/$_", '--trailer', 'grpc-status: 0', port($_));
}

$t->state_file(
    services => [
        { name => 'calc', protocol => 'grpc' },
        { name => 'plain' },
        { name => 'empty', protocol => 'grpc' },
        { name => 'dated', protocol => 'grpc',
            affinity => 'learn.header.Last-Modified' },
    ],
    instances => [
        map({ { id => "calc.$_", service => 'calc',
            address => '127.0.0.1:' . port($_) },
            { id => "dated.$_", service => 'dated',
                address => '127.0.0.1:' . port($_) } } 8081, 8082),
        { id => 'plain.1', service => 'plain',
            address => '127.0.0.1:' . port(8081) },
    ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(10);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  grpc  '$corral_service $corral_instance $status';
    access_log  %%TESTDIR%%/grpc.log  grpc;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location = /status { corral_status; access_log off; }
    }

    server {
        listen  127.0.0.1:8085 http2;

        location / {
            corral_service_from  path query;
            grpc_pass            grpc://agents;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);
$t->waitforsocket(port($_)) for 8081, 8082;

###############################################################################

my $out = call('/agents/calc/call');

like($out, qr/:status: 200/, 'status');
like($out, qr/grpc-status: 0/, 'trailer passes');

# round robin

call('/agents/calc/call') for 1 .. 3;

$t->wait_for_log(qr/(.*\n){4}/, 'grpc.log');
my $log = $t->read_file('grpc.log');
is(scalar(() = $log =~ /^calc calc\.8081 200$/mg), 2, 'one half here');
is(scalar(() = $log =~ /^calc calc\.8082 200$/mg), 2, 'one half there');

like(call('/call?service=calc'), qr/:status: 200/, 'service by query');

like(call('/agents/empty/call'), qr/:status: 503/, 'no instance');
like(call('/agents/nobody/call'), qr/:status: 404/, 'no service');

# a session that the server names in its answer; this one has nothing but a date

my ($date) = call('/agents/dated/call') =~ /^.*last-modified: (.*)$/m;
my ($dated) = $t->wait_for_log(qr/^dated (\S+)/m, 'grpc.log') =~ /(\S+)$/;
call('/agents/dated/call', "last-modified: $date") for 1 .. 4;
$t->wait_for_log(qr/(^dated .*\n){5}/m, 'grpc.log');
is(scalar(() = $t->read_file('grpc.log') =~ /^dated \Q$dated\E /mg), 5,
    'a session is learned');

# a service that speaks another protocol: the answer says which line to write

$out = call('/agents/plain/call');
like($out, qr/:status: 50\d/, 'http service by grpc_pass');

is_deeply($t->wait_for_counts({ 'calc.8081' => 0, 'calc.8082' => 0 }),
    { 'calc.8081' => 0, 'calc.8082' => 0 }, 'given back');

###############################################################################

sub call {
    my ($uri, @headers) = @_;

    my $url = 'http://127.0.0.1:' . port(8085) . $uri;
    open my $fh, '-|', 'nghttp', '-v', '-H', 'content-type: application/grpc',
        '-H', 'te: trailers', map({ ('-H', $_) } @headers),
        '-d', $t->testdir() . '/index.html', $url
        or die "Can't run nghttp: $!\n";

    local $/;
    my $out = <$fh> // '';
    close $fh;

    $out =~ s/\e\[[\d;]*m//g;

    return $out;
}

###############################################################################
