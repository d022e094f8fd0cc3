#!/usr/bin/perl

# A list of revocations of many pages, of which some end while it is read: a
# Redis of the test's own answers as a real one would that is read slowly.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_redis corral_metrics/);

$t->write_file_expand('nginx.conf', <<'EOT')->plan(2);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  redis://127.0.0.1:%%PORT_8379%%;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            proxy_pass           http://agents;
        }

        location = /metrics { corral_metrics; }
        location = /status { corral_status; }
    }
}

EOT

# 1,500 entries, of which 200 end after the first page was asked for, by the clock
# the question

my $now = time();
my @all = ((map { [ "token:soon$_", $now + 3600 ] } 1 .. 200),
    (map { [ "token:late$_", $now + 7200 ] } 1 .. 1300));

my $dir = $t->testdir();
my $pages = 0;

$t->run_daemon(\&Test::Corral::Store::fake, port(8379), sub {
    my ($n, $word, @args) = @_;

    return "\$18\r\n0123456789abcdef.1\r\n"
        if $word eq 'GET' && $args[0] =~ /:revoked$/;

    return Test::Corral::Store::empty($word) if $word ne 'ZRANGEBYSCORE';

    # ZRANGEBYSCORE key (time +inf WITHSCORES LIMIT offset count

    my ($from) = $args[1] =~ /^\((\d+)$/;
    my ($offset, $count) = @args[5, 6];

    open my $fh, '>>', "$dir/pages";
    print $fh "$from $offset\n";
    close $fh;

    # the first 200 end when the clock of the asker has gone on

    $pages ||= $from;
    my @left = $from > $pages ? @all[200 .. $#all] : @all;

    # and it does that before the answer is there

    select undef, undef, undef, 1.1 if $offset == 0;

    my @page = grep { defined } @left[$offset .. $offset + $count - 1];
    my @words = map { @$_ } @page;

    return '*' . @words . "\r\n"
        . join '', map { '$' . length($_) . "\r\n$_\r\n" } @words;
});

$t->waitforsocket(port(8379));
$t->run();

ok(wait_for(sub { http_get('/metrics') =~ /^corral_revocations [1-9]/m }, 10),
    'the list is read');
like(http_get('/metrics'), qr/^corral_revocations 1500$/m, 'all of it');

###############################################################################
