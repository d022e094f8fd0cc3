#!/usr/bin/perl

# -o json of every command: values of JSON on standard output and nothing
# else; words for people go to standard error.

###############################################################################

use warnings;
use strict;

use JSON::PP;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();
my $dir = $d->dir();

# what shows something that is not ours, or is for a shell, is as it is

my %plain = map { $_ => 1 } qw/call completion help/;

# the name of a command, its other words, how many values come; in this order

my @runs = (
    [ 'apply', "-f $dir/file", 2 ], [ 'register', "-f $dir/file", 2 ],
    [ 'apply', "-f $dir/file --dry-run", 2 ],
    [ 'start', 's t', 2 ], [ 'wait', 's t', 2 ], [ 'ps', '', 1 ],
    [ 'ps', 's', 1 ], [ 'ps', '--all', 1 ], [ 'describe', 's', 1 ],
    [ 'explain', 's', 1 ], [ 'logs', 's', undef ], [ 'scale', 's 2', 1 ],
    [ 'pause', 's', 1 ], [ 'resume', 's', 1 ],
    [ 'restart', 's --wait 30', 1 ], [ 'stop', '--labels x=y --yes', 1 ],
    [ 'stop', 's', 1 ], [ 'routes list', '', 1 ], [ 'routes show', 'r', 1 ],
    [ 'routes add', "-f $dir/rule", 1 ], [ 'routes set', 'r priority=5', 1 ],
    [ 'routes disable', 'r q', 2 ], [ 'routes enable', 'r', 1 ],
    [ 'routes reorder', 'q r', 1 ], [ 'routes test', '/x', 1 ],
    [ 'routes delete', 'q --yes', 1 ], [ 'connections', '', 1 ],
    [ 'close', '--all --yes', 1 ], [ 'close', '--all --dry-run', 1 ],
    [ 'revoke', 'token:a token:b', 2 ], [ 'revocations', '', 1 ],
    [ 'unrevoke', 'token:a token:b', 2 ], [ 'drain', '--service s', 1 ],
    [ 'drain', '--service s --wait 10', 1 ],
    [ 'rebalance', 't --dry-run', 1 ], [ 'events', '', undef ],
    [ 'nodes', '', 1 ], [ 'gateways', '', 1 ], [ 'doctor', '', 1 ],
    [ 'delete', 's t --yes', 2 ], [ 'version', '', 1 ],
    [ 'init', "j$$", 1 ],
);

$t->plan(2 * @runs + 3 + 3);
$s->start(1);

file('file', "services:\n- name: s\n  command: [sleep, '1000']\n"
    . "  health_check_enabled: false\nrules:\n- name: r\n");
file('rule', "name: q\ntarget_services: [s]\n");
$d->service(name => 't', command => $d->agent());

###############################################################################

chdir $dir;

for (@runs) {
    my ($name, $words, $values) = @$_;

    my ($code, $out, $err) = $d->ctl(split(' ', "$name $words"), '-o', 'json');
    my $n = values_of($out);
    ok(defined $n && (defined $values ? $n == $values : $n > 0),
        "$name $words") or diag($out, $err);
    like($code, $name eq 'doctor' ? qr/^[07]$/ : qr/^0$/, 'done')
        or diag($err);
}

# all that there are were run

my %run = map { $_->[0] => 1 } @runs;
my ($code, $out) = $d->ctl('help');
my @all = $out =~ /^  ([a-z]+(?: [a-z]+)?) {2,}\S/mg;
is(join(' ', grep { !$run{$_} && !$plain{$_} } @all), '', 'every command');

# what fails says so, and not on standard output

($code, $out, my $err) = $d->ctl('describe', 'nobody', '-o', 'json');
is("$code$out", '3', 'no values of what fails');
like($err, qr/^corral: there is no service or instance "nobody"$/, 'why');

chdir $FindBin::Bin;

$s->finish();

###############################################################################

# how many values of JSON it is, undef if it is not all JSON

sub values_of {
    my ($text) = @_;

    my $json = JSON::PP->new->allow_nonref;
    my $n = eval { $json->incr_parse($text); my @v = $json->incr_parse();
        die "rest\n" if $json->incr_text =~ /\S/; scalar @v };

    return $n;
}

sub file {
    my ($name, $text) = @_;

    open my $fh, '>', "$dir/$name" or die "$dir/$name: $!";
    print $fh $text;
    close $fh;
}

###############################################################################
