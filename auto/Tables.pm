package Tables;

# The tables of our C sources, for the scripts beside this file.  Text is read,
# not compiled: a table must be written as plain rows.

use warnings;
use strict;

use base 'Exporter';

our @EXPORT_OK = qw/slurp x_tables x_table c_table/;


# the whole file, '' if there is none

sub slurp {
    my ($file) = @_;

    open my $fh, '<:encoding(UTF-8)', $file or return '';
    local $/;

    return scalar <$fh>;
}


# X-macro tables of a header: ([ name, [ row, row... ] ]...) in the order of the
# file; a row is a list of its arguments, strings without their quotes.

sub x_tables {
    my ($text) = @_;
    my @tables;

    $text =~ s/\\\n/ /g;
    $text =~ s{/\*.*?\*/}{}sg;

    while ($text =~ /^#define\s+(\w+)\(X\)[ \t]*(.*)$/mg) {
        my ($name, $body) = ($1, $2);
        my @rows;

        while ($body =~ /\bX(\((?:[^()"]|"(?:\\.|[^"\\])*"|(?1))*\))/g) {
            push @rows, arguments(substr $1, 1, -1);
        }

        push @tables, [ $name, \@rows ];
    }

    return @tables;
}


# the rows of one of them

sub x_table {
    my ($text, $name) = @_;

    for my $table (x_tables($text)) {
        return @{$table->[1]} if $table->[0] eq $name;
    }

    return;
}


sub arguments {
    my ($text) = @_;
    my @args;

    while ($text =~ /\G\s*((?:"(?:\\.|[^"\\])*"|\([^()]*\)|[^,"()]+)+)\s*,?/g) {
        my $arg = $1;

        # strings that stand side by side are one

        if ($arg =~ /^\s*"/) {
            my $all = '';
            $all .= $1 while $arg =~ /"((?:\\.|[^"\\])*)"/g;
            $all =~ s/\\(["\\])/$1/g;
            $arg = $all;
        }

        $arg =~ s/^\s+|\s+$//g;
        push @args, $arg;
    }

    return \@args;
}


# the text inside the braces of all arrays of a type: c_table($text, 'ngx_str_t')

sub c_table {
    my ($text, $type) = @_;
    my @found;

    $text =~ s{/\*.*?\*/}{}sg;

    while ($text =~ /\b$type\s+\w+\[\w*\]\s*=\s*(\{(?:[^{}"]|"(?:\\.|[^"\\])*"|(?1))*\})/g) {
        push @found, substr $1, 1, -1;
    }

    return @found;
}


1;
